package kubetest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Event is one line of the API server's audit log: what reached it, and as
// whom. There is one when an answer is complete, and for what takes long
// (watch, exec, logs) one when it begins.
type Event struct {
	ID      string `json:"auditID"`
	Stage   string // ResponseStarted, ResponseComplete or Panic
	Verb    string
	URI     string `json:"requestURI"`
	User    Person
	As      *Person            `json:"impersonatedUser"`
	Agent   string             `json:"userAgent"`
	Object  Object             `json:"objectRef"`
	Status  struct{ Code int } `json:"responseStatus"`
	Arrived time.Time          `json:"requestReceivedTimestamp"`
}

// Person is who asks.
type Person struct {
	Username string
	Groups   []string
	Extra    map[string][]string
}

// Object is what is asked about.
type Object struct{ Resource, Namespace, Name, Subresource, APIGroup string }

// policy of the audit: everything, without contents.
const policy = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}`

// AuditSize is a place in the audit log, for Audit: its end.
func (c *Cluster) AuditSize() (int64, error) {
	st, err := os.Stat(c.AuditLog)
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// Audit gives the events of others than the cluster's own parts from a place
// in the log on: 0, or what AuditSize gave. The server writes an event before
// its answer ends, so what a client has seen the end of is there.
func (c *Cluster) Audit(from int64) ([]Event, error) {
	f, err := os.Open(c.AuditLog)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return nil, err
	}
	var out []Event
	for r := bufio.NewReaderSize(f, 1<<20); ; {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return out, nil // a line without an end is being written
		} else if err != nil {
			return nil, err
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
		if !own(e) {
			out = append(out, e)
		}
	}
}

// own reports whether an event is of a part of the cluster.
func own(e Event) bool {
	switch e.User.Username {
	case "system:apiserver", controllerName, nodeName, waiterName:
		return true
	}
	return false
}
