package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"k8s.io/client-go/rest"

	classify "github.com/doorward/doorward/internal/classify/kubernetes"
	"github.com/doorward/doorward/internal/gate"
)

// KubernetesOptions says how the API server of a cluster is reached.
type KubernetesOptions struct {
	Name   string
	Config *rest.Config // address, TLS and credential; without impersonation
	// Impersonate says as whom a session acts there; nil: as doorward itself.
	Impersonate func(s *gate.Session) (rest.ImpersonationConfig, error)
}

// Kubernetes is a cluster behind the gate. Its connections are shared by all
// sessions: what is sent on them is one permit's request at a time.
type Kubernetes struct {
	opt       KubernetesOptions
	transport http.RoundTripper
	host      *url.URL
}

// maxLive bounds an object that doorward looks at itself.
const maxLive = 8 << 20

// userAgent is what clusters see in their logs.
const userAgent = "doorward"

// ErrRedirect says that an API server wants to send doorward elsewhere, which
// it never follows: its credential would go along (CVE-2022-3172).
var ErrRedirect = errors.New("the API server answered with a redirect or an upgrade that nobody asked for")

// ErrCredential says that a cluster or service does not take doorward's credential.
var ErrCredential = errors.New("the target does not take doorward's credential")

// NewKubernetes checks the options of a cluster.
func NewKubernetes(opt KubernetesOptions) (*Kubernetes, error) {
	if opt.Config == nil {
		return nil, fmt.Errorf("target %s: no way to the API server", opt.Name)
	}
	cfg := rest.CopyConfig(opt.Config)
	cfg.Impersonate = rest.ImpersonationConfig{}
	cfg.UserAgent = userAgent
	cfg.DisableCompression = true // it is asked for where it helps: see Send
	cfg.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	host, err := url.Parse(cfg.Host)
	if err != nil || host.Scheme != "https" || host.Host == "" {
		return nil, fmt.Errorf("target %s: %q is not the address of an API server", opt.Name, cfg.Host)
	}
	transport, err := rest.TransportFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", opt.Name, err)
	}
	opt.Config = cfg
	return &Kubernetes{opt: opt, transport: transport, host: host}, nil
}

// at is the address of a path and query of the cluster.
func (k *Kubernetes) at(path, query string) *url.URL {
	u := *k.host
	u.Path, u.RawQuery = path, query
	return &u
}

// take spends a permit and gives the request that it is for. The bytes of the
// permit are the request's text, which is what was judged.
func (k *Kubernetes) take(s *gate.Session, p *gate.Permit, stream string) (*classify.Request, error) {
	text, err := p.Spend(s)
	if err != nil {
		return nil, err
	}
	r, err := classify.Parse(string(text))
	if err != nil {
		return nil, errors.Join(gate.ErrPermit, err)
	}
	if r.Stream != stream {
		return nil, errors.Join(gate.ErrPermit, errors.New("it is for something else"))
	}
	return r, nil
}

// request makes the HTTP request of doorward's own for a judged one. No header
// of the client is in it but what the text holds.
func (k *Kubernetes) request(ctx context.Context, s *gate.Session, r *classify.Request) (*http.Request, error) {
	var body io.Reader
	if len(r.Body) > 0 {
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, k.at(r.Path, r.Query.Encode()).String(), body)
	if err != nil {
		return nil, err
	}
	if r.Accept != "" {
		req.Header.Set("Accept", r.Accept)
	}
	if r.ContentType != "" {
		req.Header.Set("Content-Type", r.ContentType)
	}
	who, err := k.as(s)
	if err != nil {
		return nil, err
	}
	if who.UserName != "" {
		req.Header.Set("Impersonate-User", who.UserName)
		for _, g := range who.Groups {
			req.Header.Add("Impersonate-Group", g)
		}
		for key, values := range who.Extra {
			for _, v := range values {
				req.Header.Add("Impersonate-Extra-"+key, v)
			}
		}
	}
	return req, nil
}

func (k *Kubernetes) as(s *gate.Session) (rest.ImpersonationConfig, error) {
	if k.opt.Impersonate == nil || s == nil {
		return rest.ImpersonationConfig{}, nil
	}
	return k.opt.Impersonate(s)
}

// Send spends the permit and sends its request. A permit to rehearse is sent
// with dryRun, so that the cluster keeps nothing of it. The caller closes the
// answer's body.
func (k *Kubernetes) Send(ctx context.Context, s *gate.Session, p *gate.Permit) (*http.Response, error) {
	r, err := k.take(s, p, "")
	if err != nil {
		return nil, err
	}
	if p.Rehearsal() {
		if err := k.rehearsable(ctx, s, r); err != nil {
			return nil, err
		}
		if r.Query == nil {
			r.Query = url.Values{}
		}
		r.Query.Set("dryRun", "All")
	}
	req, err := k.request(ctx, s, r)
	if err != nil {
		return nil, err
	}
	if r.Method == http.MethodGet {
		// API servers write large lists in small pieces; packed, they are a tenth
		// of them, and that saves both sides more than unpacking costs. The caller
		// unpacks.
		req.Header.Set("Accept-Encoding", "gzip")
	}
	return k.do(req)
}

// ErrNoRehearsal says that what serves a request may do it although it is told
// to keep nothing of it.
var ErrNoRehearsal = errors.New("what serves this may not know how to rehearse it")

// rehearsable wants a request that the API server itself serves: one that is
// registered for a group (an aggregated API) may not look at dryRun.
func (k *Kubernetes) rehearsable(ctx context.Context, s *gate.Session, r *classify.Request) error {
	a, err := r.Attributes()
	if err != nil || !r.Rehearsable() {
		return errors.Join(gate.ErrPermit, ErrNoRehearsal)
	}
	if a.Group == "" {
		return nil
	}
	req, err := k.request(ctx, s, &classify.Request{Method: http.MethodGet, Path: "/apis/apiregistration.k8s.io/v1/apiservices/" + a.Version + "." + a.Group, Accept: "application/json"})
	if err != nil {
		return err
	}
	resp, err := k.do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var served struct {
		Kind string
		Spec struct{ Service json.RawMessage }
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxLive))
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(b, &served) != nil || served.Kind != "APIService" || (len(served.Spec.Service) > 0 && string(served.Spec.Service) != "null") {
		return ErrNoRehearsal
	}
	return nil
}

func (k *Kubernetes) do(req *http.Request) (*http.Response, error) {
	resp, err := k.transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", k.opt.Name, err)
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		err = ErrCredential
	case resp.StatusCode < 200 || resp.StatusCode >= 300 && resp.StatusCode < 400:
		err = ErrRedirect
	}
	if err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// ErrNoObject says that there is no object where a write is about one.
var ErrNoObject = errors.New("there is no such object")

// Live reads the object that a write is about as it is now, as JSON: a request
// of doorward's own, of which clients see nothing. The write is only looked at.
func (k *Kubernetes) Live(ctx context.Context, s *gate.Session, write *classify.Request) ([]byte, error) {
	path, ok := write.Live()
	if !ok {
		return nil, ErrNoObject
	}
	req, err := k.request(ctx, s, &classify.Request{Method: http.MethodGet, Path: path, Accept: "application/json"})
	if err != nil {
		return nil, err
	}
	resp, err := k.do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, ErrNoObject
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("target %s: looking at %s: %s", k.opt.Name, path, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxLive+1))
	if err == nil && len(b) > maxLive {
		err = fmt.Errorf("target %s: %s has more than %d bytes", k.opt.Name, path, maxLive)
	}
	return b, err
}

// Probe asks for the version, to see whether the API server is there and takes
// the credential.
func (k *Kubernetes) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	req, err := k.request(ctx, nil, &classify.Request{Method: http.MethodGet, Path: "/api", Accept: "application/json"})
	if err != nil {
		return err
	}
	resp, err := k.do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("target %s: the API server answers %s", k.opt.Name, resp.Status)
	}
	return nil
}

// Close ends connections that nobody uses.
func (k *Kubernetes) Close() {
	if t, ok := k.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// BodyProcess is the body of an answer in the shape of a process: it writes, and
// ends.
type BodyProcess struct {
	body   io.ReadCloser
	cancel context.CancelFunc
	ended  chan End
	said   sync.Once
}

// Body gives the body of an answer the shape of a process. cancel ends its
// request.
func Body(body io.ReadCloser, cancel context.CancelFunc) *BodyProcess {
	return &BodyProcess{body: body, cancel: cancel, ended: make(chan End, 1)}
}

// Read reads the answer's body.
func (b *BodyProcess) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	switch err {
	case nil:
	case io.EOF:
		b.say(End{Known: true})
	default:
		b.say(End{Failure: "the answer ended too early: " + err.Error()})
	}
	return n, err
}

// say tells once how it ended.
func (b *BodyProcess) say(end End) {
	b.said.Do(func() {
		b.ended <- end
		close(b.ended)
	})
}

// Stderr is empty.
func (b *BodyProcess) Stderr() io.Reader { return bytes.NewReader(nil) }

// Stream takes nothing: the request was sent whole.
func (b *BodyProcess) Stream(*gate.Permit, []byte) error { return errors.ErrUnsupported }

// CloseWrite does nothing.
func (b *BodyProcess) CloseWrite() error { return nil }

// Close ends the answer.
func (b *BodyProcess) Close() error {
	b.cancel()
	err := b.body.Close()
	b.say(End{Failure: "the answer was not read to its end"})
	return err
}

// Signal is not understood by an answer.
func (b *BodyProcess) Signal(string) error { return errors.ErrUnsupported }

// Resize is not understood by an answer.
func (b *BodyProcess) Resize(uint32, uint32) error { return errors.ErrUnsupported }

// Ended gets one value when the body has ended.
func (b *BodyProcess) Ended() <-chan End { return b.ended }

// ErrBusy says that a cluster has as many requests as its target lets it have.
var ErrBusy = errors.New("the cluster has too many requests at once")

// ErrAs says that a session cannot act on the cluster under its own name.
var ErrAs = errors.New("a name that begins with system: is the cluster's own")
