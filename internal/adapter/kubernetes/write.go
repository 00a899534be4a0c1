package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/pmezard/go-difflib/difflib"
	"sigs.k8s.io/yaml"

	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
)

const (
	previewWait  = 10 * time.Second
	maxRehearsed = 8 << 20
)

// unmasked refuses a write that holds what doorward put in place of a value: it
// would write the mask over the value.
func (q *query) unmasked(text string) error {
	if gate.HoldsSecretMarker(q.req.Body) {
		return q.refuse(text, http.StatusUnprocessableEntity, "this would write doorward's mask over a value", "Leave out what you were shown masked: a patch need not repeat it.")
	}
	return nil
}

// bind makes a write that people decide on about the object as it is now: the
// cluster refuses it when the object is another by then. What people see beside
// it is a rehearsal.
func (q *query) bind(req *gate.Request) error {
	s := q.lane.Session
	if _, about := q.req.Live(); !about && q.req.Method != http.MethodPost {
		return nil
	}
	c, done, err := q.cluster()
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(s.Context(), previewWait)
	defer cancel()
	var live []byte
	if _, about := q.req.Live(); about {
		live, err = c.Live(ctx, s, q.req)
		if err != nil && !errors.Is(err, upstream.ErrNoObject) {
			return q.unreached(err)
		}
	}
	if live != nil {
		if err := q.pin(req, live); err != nil {
			return err
		}
	}
	req.Preview = func() string { return q.preview(*req, live) }
	return nil
}

// pin binds the request to the object, and reads it anew: what is judged is
// what is sent.
func (q *query) pin(req *gate.Request, live []byte) error {
	s := q.lane.Session
	text := string(req.Frames)
	var o struct {
		Metadata struct {
			UID             string `json:"uid"`
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(live, &o); err != nil || o.Metadata.UID == "" || o.Metadata.ResourceVersion == "" {
		return q.refuse(text, http.StatusConflict, "the object that this is about cannot be told from another: it has no uid or no version", "")
	}
	pinned, err := q.req.Pin(o.Metadata.UID, o.Metadata.ResourceVersion)
	if err != nil {
		return q.refuse(text, http.StatusConflict, "this cannot be bound to the object that people are to decide on: "+err.Error(), "Leave the object's uid and resourceVersion out.")
	}
	if text, err = pinned.Text(); err != nil {
		return q.refuse(string(req.Frames), http.StatusBadRequest, err.Error(), "")
	}
	st, err := s.Read(s.Context(), text)
	if err != nil {
		return err
	}
	q.req, req.Frames, req.Acts = pinned, []byte(text), []gate.Act{{Statement: st}}
	return nil
}

// preview shows people what would change, masked: what the cluster makes of the
// write when it is told to keep nothing of it, beside what there is.
func (q *query) preview(req gate.Request, live []byte) string {
	before, err := q.shown(live)
	if err != nil {
		return "There is no preview: " + err.Error()
	}
	if q.req.Method == http.MethodDelete || q.at.Subresource == "eviction" {
		return "It would delete:\n" + before
	}
	after, note := q.rehearse(req)
	if note != "" {
		return "There is no preview: " + note
	}
	shown, err := q.shown(after)
	if err != nil {
		return "There is no preview: " + err.Error()
	}
	if live == nil {
		return "It would make:\n" + shown
	}
	diff, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: difflib.SplitLines(before), B: difflib.SplitLines(shown), FromFile: "now", ToFile: "then", Context: 3})
	switch {
	case err != nil:
		return "There is no preview: " + err.Error()
	case diff == "":
		return "It would change nothing that is shown."
	}
	return diff
}

// rehearse asks the cluster for what would become of the write.
func (q *query) rehearse(req gate.Request) (after []byte, note string) {
	s := q.lane.Session
	ctx, cancel := context.WithTimeout(s.Context(), previewWait)
	defer cancel()
	p, err := s.Rehearse(ctx, req)
	if err != nil {
		return nil, "the rehearsal was not permitted"
	}
	code := "no answer"
	defer func() {
		if err := p.Reply().Done(code); err != nil {
			after, note = nil, "the rehearsal could not be recorded"
		}
	}()
	c, done, err := q.cluster()
	if err != nil {
		return nil, "the cluster cannot be reached"
	}
	defer done()
	resp, err := c.Send(ctx, s, p)
	if err != nil {
		q.srv.opt.Log.Warn("a rehearsal failed", "target", s.Target.Name, "session", s.ID(), "error", err)
		return nil, "the cluster does not rehearse it"
	}
	defer resp.Body.Close()
	code = resp.Status
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxRehearsed+1))
	if err != nil || len(b) > maxRehearsed {
		return nil, "the answer is too long, or ended too early"
	}
	if resp.StatusCode >= 300 {
		var st status
		if json.Unmarshal(b, &st) == nil && st.Message != "" {
			return nil, "the cluster would refuse it: " + printable(s.Text(st.Message))
		}
		return nil, "the cluster would refuse it: " + resp.Status
	}
	return b, ""
}

// shown is an object as people read it: YAML, masked, without the bookkeeping of
// the API server.
func (q *query) shown(object []byte) (string, error) {
	if object == nil {
		return "", nil
	}
	m := q.objects(q.at.Group == "" && q.at.Resource == "secrets")
	b, err := m.Write(nil, object)
	if err == nil {
		b, err = m.Close(b)
	}
	if err != nil {
		return "", errors.New("what the cluster sends cannot be masked")
	}
	var o map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&o); err != nil {
		return "", errors.New("what the cluster sends is no object")
	}
	if meta, ok := o["metadata"].(map[string]any); ok {
		delete(meta, "managedFields")
		delete(meta, "generation")
		delete(meta, "resourceVersion")
		if a, ok := meta["annotations"].(map[string]any); ok {
			delete(a, "kubectl.kubernetes.io/last-applied-configuration")
			if len(a) == 0 {
				delete(meta, "annotations")
			}
		}
	}
	delete(o, "status")
	out, err := yaml.Marshal(o)
	return strings.ToValidUTF8(string(out), "?"), err
}
