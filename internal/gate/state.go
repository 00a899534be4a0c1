package gate

import "github.com/doorward/doorward"

// maxNames bounds the prepared statements and cursors that a session may hold.
const maxNames = 4096

// State is the part of a session that changes what later requests mean:
// prepared statements and cursors by name. The adapter moves it only on the
// target's own word (ParseComplete, CommandComplete).
type State struct {
	prepared map[string]*Statement
	cursors  map[string]*Statement
}

// Prepared gives the reading of a prepared statement, for the classifier.
func (st *State) Prepared(name string) (*doorward.Reading, bool) {
	s, ok := st.prepared[name]
	if !ok {
		return nil, false
	}
	return s.Reading, true
}

// Cursor gives the reading of an open cursor or portal, for the classifier.
func (st *State) Cursor(name string) (*doorward.Reading, bool) {
	s, ok := st.cursors[name]
	if !ok {
		return nil, false
	}
	return s.Reading, true
}

// Prepare notes a prepared statement. It reports false when there are too many.
func (st *State) Prepare(name string, s *Statement) bool { return put(&st.prepared, name, s) }

// Declare notes a cursor or portal. It reports false when there are too many.
func (st *State) Declare(name string, s *Statement) bool { return put(&st.cursors, name, s) }

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
}
