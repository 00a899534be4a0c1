package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/doorward/doorward/internal/api"
)

const (
	callTime  = 30 * time.Second
	maxAnswer = 64 << 20
)

// client talks to a gate's API.
type client struct {
	base  *url.URL
	token string
	ca    string
	http  *http.Client
}

// signedIn gives a client with the sign-in that was kept.
func signedIn() (*client, error) {
	c, err := loadCredentials()
	if err != nil {
		return nil, err
	}
	return newClient(c.Server, c.CA, c.Token)
}

func newClient(server, ca, token string) (*client, error) {
	base, err := serverURL(server)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(ca)) {
			return nil, exitf(CodeUsage, "the CA file holds no PEM certificate; give the gate's own ca.pem")
		}
		conf.RootCAs = pool
	}
	return &client{base: base, token: token, ca: ca, http: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: callTime,
			DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		},
		// A redirect could carry the token elsewhere: the API never sends one.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// serverURL checks the address of a gate. Plain HTTP is for loopback only.
func serverURL(server string) (*url.URL, error) {
	if !strings.Contains(server, "://") {
		server = "https://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, exitf(CodeUsage, "%q is not an address of a gate; it looks like https://doorward.example:8443", cleanLine(server))
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && loopback(u.Hostname()):
	default:
		return nil, exitf(CodeUsage, "%s would send your sign-in without encryption; use https://", cleanLine(server))
	}
	u.Path = ""
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// call makes one request. in and out may be nil.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, done := context.WithTimeout(ctx, callTime)
	defer done()
	resp, err := c.open(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := readAll(resp.Body, "the answer", maxAnswer)
	if err != nil {
		return err
	}
	if out == nil || len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("the answer of %s is not what this version understands: %w; is it a doorward server of the same version?", c.base.Host, err)
	}
	return nil
}

// open sends a request and gives its answer when that is a success.
func (c *client) open(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base.String()+path, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.refused(resp)
}

// explain says what to do about a connection that failed.
func (c *client) explain(err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var op *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate of %s is not trusted: if the gate made its own CA, pass its ca.pem: `doorward login --server %s --ca FILE`", c.base.Host, c.base)
	case errors.As(err, &name):
		return fmt.Errorf("the certificate of %s is for another name: %w; use the name that the certificate has", c.base.Host, err)
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%s cannot be reached: %w; is `doorward serve` running there?", c.base.Host, op.Err)
	}
	return fmt.Errorf("asking %s: %w", c.base.Host, err)
}

// refused turns a problem document into an error with the right exit code.
func (c *client) refused(resp *http.Response) error {
	var p struct {
		api.Problem
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
	}
	raw, err := readAll(resp.Body, "the answer", 1<<20)
	if err != nil || json.Unmarshal(raw, &p) != nil || p.Title == "" {
		return fmt.Errorf("%s answered %s; is it a doorward server?", c.base.Host, resp.Status)
	}
	text := cleanLine(p.Error())
	for _, e := range p.Errors {
		text += fmt.Sprintf("; %s: %s", cleanLine(e.Location), cleanLine(e.Message))
	}
	if p.Hint != "" {
		text += "\nhint: " + cleanLine(p.Hint)
	}
	code := CodeError
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		code = CodeNotSigned
	case http.StatusForbidden:
		code = CodeDenied
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		code = CodeUsage
	}
	return &Exit{Code: code, Err: errors.New(text)}
}
