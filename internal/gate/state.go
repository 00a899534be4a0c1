package gate

import "github.com/doorward/doorward"

// maxNames bounds the prepared statements and cursors that a session may hold.
const maxNames = 4096

// State is the part of a session that changes what later requests mean:
// prepared statements and cursors by name. The adapter moves it only on the
// target's own word (ParseComplete, CommandComplete).
type State struct {
	session  *Session // that it belongs to; nil for a text that is read alone
	used     []string // texts behind the names that the last reading looked up
	prepared map[string]*Statement
	cursors  map[string]*Statement
}

// Prepared gives the reading of a prepared statement, for the classifier.
func (st *State) Prepared(name string) (*doorward.Reading, bool) {
	s, ok := st.prepared[name]
	if !ok {
		return nil, false
	}
	st.used = append(st.used, s.Text)
	// The target plans a prepared statement anew when what it names changes, so
	// it is read anew too.
	r, err := st.session.Target.Dialect.Read(s.Text, &State{session: st.session})
	if err != nil || len(r.Statements) != 1 {
		return nil, false
	}
	if s.Inner {
		r = r.Statements[0].Inner
	}
	return r, r != nil
}

// Cursor gives the reading of an open cursor or portal, for the classifier.
func (st *State) Cursor(name string) (*doorward.Reading, bool) {
	s, ok := st.cursors[name]
	if !ok || s.rules != st.session.gate.rules.Load() {
		// The plan of a cursor is fixed, but what is masked may have changed.
		return nil, false
	}
	st.used = append(st.used, s.Text)
	return s.Reading, true
}

// Prepare notes a prepared statement. It reports false when there are too many.
func (st *State) Prepare(name string, s *Statement) bool { return put(&st.prepared, name, s) }

// Declare notes a cursor or portal. It reports false when there are too many.
func (st *State) Declare(name string, s *Statement) bool {
	kept := *s
	kept.rules = st.session.gate.rules.Load()
	return put(&st.cursors, name, &kept)
}

func put(m *map[string]*Statement, name string, s *Statement) bool {
	if *m == nil {
		*m = make(map[string]*Statement, 2)
	}
	if _, have := (*m)[name]; !have && len(*m) >= maxNames {
		return false
	}
	(*m)[name] = s
	return true
}

// Forget drops a prepared statement; "" with all drops every one.
func (st *State) Forget(name string, all bool) {
	if all {
		st.prepared = nil
		return
	}
	delete(st.prepared, name)
}

// CloseCursor drops a cursor; all drops every one.
func (st *State) CloseCursor(name string, all bool) {
	if all {
		st.cursors = nil
		return
	}
	delete(st.cursors, name)
}

// Statement is a text that was read for a session.
type Statement struct {
	Text    string
	Reading *doorward.Reading
	Inner   bool   // kept by SQL: Text is the PREPARE or DECLARE, Reading that of the statement inside
	Runs    string // what the names that the text speaks of stand for
	rules   *Rules // in force when it was kept
}
