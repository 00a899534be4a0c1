package postgres

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/doorward/doorward"
)

func queries(t testing.TB, file string) []string {
	var out []string
	for line := range strings.Lines(readFile(t, file)) {
		var q string
		if err := json.Unmarshal([]byte(line), &q); err != nil {
			t.Fatal(err)
		}
		out = append(out, q)
	}
	return out
}

// session remembers what a session has prepared, as the gate does.
type session struct {
	prepared, cursors map[string]*doorward.Reading
}

func (s *session) Prepared(name string) (*doorward.Reading, bool) {
	r, ok := s.prepared[name]
	return r, ok
}

func (s *session) Cursor(name string) (*doorward.Reading, bool) {
	r, ok := s.cursors[name]
	return r, ok
}

func (s *session) keep(r *doorward.Reading) {
	if s.prepared == nil {
		s.prepared, s.cursors = map[string]*doorward.Reading{}, map[string]*doorward.Reading{}
	}
	for _, st := range r.Statements {
		switch st.Control {
		case doorward.ControlPrepare:
			s.prepared[st.Name] = st.Inner
		case doorward.ControlDeclare:
			s.cursors[st.Name] = st.Inner
		case doorward.ControlDeallocate:
			delete(s.prepared, st.Name)
		case doorward.ControlClose:
			delete(s.cursors, st.Name)
		}
	}
}

// What psql and pg_dump --schema-only send, as logged by a server.
func TestToolsReadOnly(t *testing.T) {
	env := fixtureEnv(t)
	masked := *env
	masked.Masked, masked.Key = maskCustomers, "PM"
	r := NewReader(8 << 20)
	for _, file := range []string{"psql_queries.jsonl", "pgdump_queries.jsonl", "orm_queries.jsonl"} {
		for _, e := range []*Env{env, &masked} {
			st := &session{}
			for _, q := range queries(t, file) {
				got, err := r.Read(q, e, st)
				if err != nil {
					t.Errorf("%s: %v\n%.500s", file, err, q)
					continue
				}
				st.keep(got)
				if !got.Effect.ReadOnly() || got.Effect.MaskUse == doorward.MaskOther {
					t.Errorf("%s: not read-only: %.1500s\n%s", file, q, show(got, nil))
				}
			}
		}
	}
}
