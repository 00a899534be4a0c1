package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Client speaks the HTTP API under one token.
type Client struct {
	g     *Gate
	Token string
}

// Client gives a client that uses the token.
func (g *Gate) Client(token string) *Client { return &Client{g, token} }

// StatusError is an answer that is not a success.
type StatusError struct {
	Status int
	Body   string
	What   string
}

// Error shows status and body.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: status %d: %s", e.What, e.Status, e.Body)
}

// Do sends a request; in and out are JSON and may be nil.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.g.Console+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	res, err := c.g.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return &StatusError{res.StatusCode, string(b), method + " " + path}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s %s: %w in %.300s", method, path, err, b)
	}
	return nil
}

// Token signs a user of the local provider in.
func (g *Gate) Token(ctx context.Context, user, password string) (string, error) {
	var out struct {
		Token string `json:"token"`
	}
	err := g.Client("").Do(ctx, http.MethodPost, "/api/v1/token", map[string]any{"provider": "local", "user": user, "password": password}, &out)
	if err == nil && out.Token == "" {
		err = fmt.Errorf("POST /api/v1/token gave no token for %s", user)
	}
	return out.Token, err
}

// SignIn gives a client for a user that the configuration names.
func (g *Gate) SignIn(ctx context.Context, user string) (*Client, error) {
	for _, u := range g.config.Users {
		if u.Name == user {
			t, err := g.Token(ctx, u.Name, u.Password)
			return g.Client(t), err
		}
	}
	return nil, fmt.Errorf("the configuration has no user %q", user)
}

// Run starts an agent's run and gives the agent's token.
func (c *Client) Run(ctx context.Context, agent, task string, targets []string, ttl time.Duration) (run, token string, err error) {
	var out struct {
		Run   json.RawMessage `json:"run"`
		Token string          `json:"token"`
	}
	err = c.Do(ctx, http.MethodPost, "/api/v1/runs", map[string]any{"agent": agent, "task": task, "targets": targets, "ttl_seconds": int(ttl.Seconds())}, &out)
	if err == nil && out.Token == "" {
		err = fmt.Errorf("POST /api/v1/runs gave no token")
	}
	// The run is an object with an id, or the id itself.
	var obj struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(out.Run, &obj) != nil || obj.ID == "" {
		json.Unmarshal(out.Run, &obj.ID)
	}
	return obj.ID, out.Token, err
}

// Review as the API shows it.
type Review struct {
	ID        int64  `json:"id"`
	State     string `json:"state"`
	Target    string `json:"target"`
	Statement string `json:"statement"`
	Session   string `json:"session"`
	URL       string `json:"url"`
	Identity  struct {
		Name  string `json:"name"`
		Agent string `json:"agent"`
	} `json:"identity"`
}

// Reviews lists reviews; state is "waiting" or "all".
func (c *Client) Reviews(ctx context.Context, state string) ([]Review, error) {
	var raw json.RawMessage
	if err := c.Do(ctx, http.MethodGet, "/api/v1/reviews?state="+state, nil, &raw); err != nil {
		return nil, err
	}
	var out []Review
	return out, list(raw, "reviews", &out)
}

// list reads a JSON array that stands alone or under a key.
func list(raw json.RawMessage, key string, out any) error {
	if t := bytes.TrimSpace(raw); len(t) > 0 && t[0] == '{' {
		var obj map[string]json.RawMessage
		if err := json.Unmarshal(t, &obj); err != nil {
			return err
		}
		raw = obj[key]
		if raw == nil {
			return fmt.Errorf("no %q in %.200s", key, t)
		}
	}
	if string(raw) == "null" {
		return nil
	}
	return json.Unmarshal(raw, out)
}

// Review gives one review.
func (c *Client) Review(ctx context.Context, id int64) (Review, error) {
	var r Review
	return r, c.Do(ctx, http.MethodGet, fmt.Sprintf("/api/v1/reviews/%d", id), nil, &r)
}

// Vote approves or denies a review.
func (c *Client) Vote(ctx context.Context, id int64, approve bool, comment string, maxRows int64) error {
	in := map[string]any{"approve": approve, "comment": comment}
	if maxRows > 0 {
		in["max_rows"] = maxRows
	}
	return c.Do(ctx, http.MethodPost, fmt.Sprintf("/api/v1/reviews/%d/votes", id), in, nil)
}

// Session as the list shows it.
type Session struct {
	ID     string `json:"id"`
	Target string `json:"target"`
	Agent  string `json:"agent"`
	Name   string `json:"name"`
}

// Sessions finds sessions.
func (c *Client) Sessions(ctx context.Context, query string) ([]Session, error) {
	var raw json.RawMessage
	if err := c.Do(ctx, http.MethodGet, "/api/v1/sessions?"+query, nil, &raw); err != nil {
		return nil, err
	}
	var out []Session
	return out, list(raw, "sessions", &out)
}

// Entry of a timeline.
type Entry struct {
	Kind      string   `json:"kind"`
	Request   uint64   `json:"request"`
	Statement string   `json:"statement"`
	Decision  string   `json:"decision"`
	Review    int64    `json:"review"`
	Columns   []string `json:"columns"`
	Rows      [][]any  `json:"rows"`
	Text      string   `json:"text"`
	Error     string   `json:"error"`
	RowCount  int64    `json:"row_count"`
}

// Timeline of a session.
type Timeline struct {
	Entries  []Entry `json:"entries"`
	Verified struct {
		OK       bool     `json:"ok"`
		Problems []string `json:"problems"`
	} `json:"verified"`
}

// Timeline replays a session.
func (c *Client) Timeline(ctx context.Context, session string) (Timeline, error) {
	var t Timeline
	return t, c.Do(ctx, http.MethodGet, "/api/v1/sessions/"+session+"/timeline", nil, &t)
}

// Audit is the state of the ledger.
type Audit struct {
	Size     uint64   `json:"size"`
	OK       bool     `json:"ok"`
	Problems []string `json:"problems"`
}

// Audit asks for the state of the ledger.
func (c *Client) Audit(ctx context.Context) (Audit, error) {
	var a Audit
	return a, c.Do(ctx, http.MethodGet, "/api/v1/audit", nil, &a)
}
