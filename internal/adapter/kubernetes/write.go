package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/doorward/doorward"
	classify "github.com/doorward/doorward/internal/classify/kubernetes"
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
	const reason, hint = "this would write doorward's mask over a value", "Leave out what you were shown masked: a patch need not repeat it."
	if gate.HoldsSecretMarker(q.req.Body) {
		return q.refuse(text, http.StatusUnprocessableEntity, reason, hint)
	}
	if q.lane.Detects() && q.req.Carries() {
		return q.refuse(text, http.StatusForbidden, "a patch that copies or moves could show a value where it is not known for one, and what this target sends is masked", "Write the value with add or replace.")
	}
	if _, about := q.req.Live(); !about || len(q.req.Body) == 0 || !q.lane.Detects() {
		return nil
	}
	// Whoever read the object got some of its texts masked, and writes them back
	// as they were shown. Who may not read it has nothing to write back, and must
	// not learn from the answer what it holds.
	if !q.mayRead() {
		return nil
	}
	live, err := q.current()
	if live == nil {
		return err
	}
	m := q.objects(false)
	shown, err := m.Write(nil, live)
	if err == nil {
		shown, err = m.Close(shown)
	}
	if err != nil {
		return q.garbled("the object that this is about")
	}
	if word, holds := holdsMasks(q.req.Body, live, shown); holds {
		return q.refuse(text, http.StatusUnprocessableEntity, reason+": "+printable(word), hint)
	}
	return nil
}

// current gives the object that the request is about, as it is now; nil where it
// is about none, or there is none. It is looked at once for a request: what is
// compared is what is bound.
func (q *query) current() ([]byte, error) {
	if _, about := q.req.Live(); !about || q.looked {
		return q.object, nil
	}
	object, err := q.look()
	if err != nil && !errors.Is(err, upstream.ErrNoObject) {
		return nil, q.unreached(err)
	}
	q.object, q.looked = object, true
	return object, nil
}

// look reads the object that the request is about.
func (q *query) look() ([]byte, error) {
	s := q.lane.Session
	c, done, err := q.srv.opt.Cluster(s.Context(), s)
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(s.Context(), previewWait)
	defer cancel()
	return c.Live(ctx, s, q.req)
}

// mayRead reports whether the rules let the object be read that the write is
// about.
func (q *query) mayRead() bool {
	path, ok := q.req.Live()
	if !ok {
		return false
	}
	text, err := (&classify.Request{Method: http.MethodGet, Path: path}).Text()
	if err != nil {
		return false
	}
	s := q.lane.Session
	r, err := s.Target.Dialect.Read(text, &s.State)
	return err == nil && s.Outcome(&gate.Statement{Text: text, Reading: r}) == doorward.Allow
}

// bind makes a write that people decide on about the object as it is now: the
// cluster refuses it when the object is another by then. What people see beside
// it is a rehearsal.
func (q *query) bind(req *gate.Request) error {
	if _, about := q.req.Live(); !about && q.req.Method != http.MethodPost {
		return nil
	}
	live, err := q.current()
	if err != nil {
		return err
	}
	if live != nil {
		if err := q.pin(req, live); err != nil {
			return err
		}
	} else if q.req.Method != http.MethodPost {
		// People say yes to an object that is made. A write that would change one
		// as well is looked at again.
		req.Still = q.absent
	}
	req.Preview = func() string { return q.preview(*req, live) }
	return nil
}

// absent reports whether there is still no object where the write is about one.
func (q *query) absent() bool {
	_, err := q.look()
	return errors.Is(err, upstream.ErrNoObject)
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
	secret := q.at.Group == "" && q.at.Resource == "secrets"
	if q.req.Method == http.MethodDelete || q.at.Subresource == "eviction" {
		before, err := q.view(live, secret)
		if err != nil {
			return noPreview + err.Error()
		}
		text, err := before.text()
		if err != nil {
			return noPreview + err.Error()
		}
		return "It would delete:\n" + text
	}
	if !q.req.Rehearsable() {
		return noPreview + "this is not a thing that clusters rehearse. The request is all there is to see"
	}
	made, note := q.rehearse(req)
	if note != "" {
		return noPreview + note
	}
	after, err := q.view(made, secret)
	if err != nil {
		return noPreview + err.Error()
	}
	if live == nil {
		text, err := after.text()
		if err != nil {
			return noPreview + err.Error()
		}
		return "It would make:\n" + text
	}
	before, err := q.view(live, secret)
	if err != nil {
		return noPreview + err.Error()
	}
	text, err := difference(before, after)
	if err != nil {
		return noPreview + err.Error()
	}
	return text
}

const noPreview = "There is no preview: "

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
	if errors.Is(err, upstream.ErrNoRehearsal) {
		return nil, "what serves this may not know how to rehearse it. The request is all there is to see"
	}
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
