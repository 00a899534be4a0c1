package postgres

import (
	"fmt"
	"reflect"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/gate"
	"github.com/doorward/doorward/internal/upstream"
	wire "github.com/doorward/doorward/internal/wire/postgres"
)

// work is one request on its way: what is sent, what it means, what must come
// back for it.
type work struct {
	end    byte
	frames []byte
	acts   []gate.Act
	ops    []op

	c        *client
	own      bool // frames is a copy that has messages of doorward's own in it
	stmts    []namedStatement
	portals  []namedPortal
	stateful bool
	owesSync bool // the Sync at the end is held back: see copySync
}

// op is one message that was sent and must be answered.
type op struct {
	kind byte   // P B D E C S Q; d is a Describe of doorward's own, whose answer the client does not see
	sub  byte   // D and C: S or P
	name string // P, B, C
	prep *prepared
	port *portal
	st   *gate.Statement
	act  int  // place of its act in the permit, or -1
	last bool // the act ends with this message's answer
	at   int  // Q: the statement of the text that is being answered
}

// namedStatement and namedPortal are names as the batch has them so far, before
// the target confirmed any. A nil value is a name that was closed.
type namedStatement struct {
	name string
	prep *prepared
}

type namedPortal struct {
	name string
	port *portal
	op   int // the op that ends the portal's act in this batch, or -1
}

func fail(code, format string, a ...any) error {
	return &doorward.Denial{Decision: "error", Reason: fmt.Sprintf(format, a...), Code: code}
}

// judge reads the batch: every message is understood before the first is sent.
func (c *client) judge(w *work) error {
	w.frames = c.batch
	if w.end == 'Q' {
		text, err := wire.ParseText(wire.Body(c.batch))
		if err != nil {
			return fail("08P01", "the query message is malformed")
		}
		st, err := c.s.Read(c.s.Context(), text)
		if err != nil {
			return err
		}
		w.acts = append(w.acts, gate.Act{Statement: st})
		w.ops = append(w.ops, op{kind: 'Q', st: st, last: true})
		return nil
	}
	for _, m := range c.msgs {
		frame := c.batch[m.from:m.to]
		if err := c.judgeOne(w, m.typ, wire.Body(frame)); err != nil {
			return err
		}
		if w.own {
			w.frames = append(w.frames, frame...)
		}
	}
	w.prepareOnly()
	return w.copySync()
}

// together refuses batches in which one statement changes what another one,
// which was judged before any of them runs, speaks of.
func (w *work) together() error {
	alone := func(what string) error {
		return &doorward.Denial{Decision: "deny", Reason: what + " stands in one batch with other statements", Hint: "Send it with a Sync of its own.", Code: "0A000"}
	}
	runs, names, shapes := 0, false, false
	for i := range w.acts {
		a := &w.acts[i]
		if a.Prepare {
			continue
		}
		neutral := true
		for j := range a.Statement.Reading.Statements {
			st := &a.Statement.Reading.Statements[j]
			switch st.Control {
			case doorward.ControlPrepare, doorward.ControlDeallocate, doorward.ControlDeclare, doorward.ControlClose, doorward.ControlDiscard:
				names = true
			}
			neutral = neutral && ends(st.Control)
		}
		if neutral {
			continue // resolves no names, and drivers put it in front or behind
		}
		if v := a.Statement.Reading.Effect.Verbs; w.c.reshaped && (w.c.tx != 'I' || w.c.open2) && v&^(doorward.VerbDefine|doorward.VerbGrant|doorward.VerbSession) != 0 {
			// Nobody but this transaction sees what it made, doorward neither.
			return &doorward.Denial{Decision: "deny", Reason: "an earlier statement of this transaction changed the shape of things, which doorward cannot see before it is committed", Hint: "Commit first.", Code: "0A000"}
		}
		if shapes {
			return alone("a statement that may change the shape of things")
		}
		shapes = a.Statement.Reading.Effect.Verbs.Has(shaping)
		runs++
	}
	switch {
	case names && runs > 1:
		return alone("a statement that makes or closes prepared statements or cursors")
	case w.stateful && (runs > 1 || w.renames()):
		return alone("a statement that names a prepared statement or cursor")
	}
	return nil
}

// ends reports whether a control only begins or ends transactions.
func ends(k doorward.Control) bool {
	switch k {
	case doorward.ControlBegin, doorward.ControlCommit, doorward.ControlRollback, doorward.ControlSavepoint, doorward.ControlRollbackTo, doorward.ControlRelease:
		return true
	}
	return false
}

// shaping are the verbs after which names may mean something else.
const shaping = doorward.VerbDefine | doorward.VerbGrant | doorward.VerbExecute | doorward.VerbAdmin

// renames reports whether the batch itself gives or takes a name that a
// statement in it looks up.
func (w *work) renames() bool {
	looked := map[string]bool{}
	for i := range w.acts {
		if w.acts[i].Prepare {
			continue
		}
		for j := range w.acts[i].Statement.Reading.Statements {
			switch st := &w.acts[i].Statement.Reading.Statements[j]; st.Control {
			case doorward.ControlExecute, doorward.ControlFetch:
				looked[st.Name] = true
			default: // it looks names up in a way of its own, such as EXPLAIN EXECUTE
				for _, s := range w.stmts {
					if s.name != "" {
						return true
					}
				}
			}
		}
	}
	for _, s := range w.stmts {
		if looked[s.name] {
			return true
		}
	}
	for _, p := range w.portals {
		if looked[p.name] {
			return true
		}
	}
	return false
}

// prepareOnly ends a batch that only prepares, and that the client left open
// with a Flush, by a Sync of doorward's own: nothing ran, so nobody can see the
// difference, and the next batch can choose the transaction mode it needs.
func (w *work) prepareOnly() {
	if w.end != 'H' || w.c.open2 || w.c.tx != 'I' || len(w.ops) == 0 || w.runs() > 0 {
		return
	}
	w.frames = append(append(make([]byte, 0, len(w.frames)), w.frames[:len(w.frames)-wire.HeaderLen]...), 'S', 0, 0, 0, 4)
	w.ops = append(w.ops, op{kind: 'S', sub: 'o', act: -1})
}

// copySync holds back the Sync behind a COPY FROM STDIN. Whether a target that
// copies takes that Sync or leaves it depends on when it fails, so it is sent
// only where it means one thing: when no copy began. Once one has begun, the
// client sends another.
func (w *work) copySync() error {
	copies := -1
	for i := range w.ops {
		o := &w.ops[i]
		if o.kind != 'E' {
			continue
		}
		if copies >= 0 {
			return &doorward.Denial{Decision: "deny", Reason: "COPY FROM STDIN stands in front of other statements in one batch", Hint: "Send it with a Sync of its own.", Code: "0A000"}
		}
		if len(o.st.Reading.Statements) == 1 && o.st.Reading.Statements[0].Control == doorward.ControlCopyIn {
			copies = i
		}
	}
	if copies < 0 || w.end != 'S' {
		return nil
	}
	w.frames = append(append(make([]byte, 0, len(w.frames)), w.frames[:len(w.frames)-wire.HeaderLen]...), 'H', 0, 0, 0, 4)
	w.owesSync = true
	return nil
}

// unbounded says why a row bound could not be held for this request, or "".
func (w *work) unbounded() string {
	switch {
	case w.c.open2 || w.end == 'H':
		return "in the middle of a pipeline"
	case w.owesSync:
		return "for a COPY by the extended protocol"
	case w.c.tx == 'E':
		return "in a transaction that has failed"
	}
	for i := range w.acts {
		for j := range w.acts[i].Statement.Reading.Statements {
			switch w.acts[i].Statement.Reading.Statements[j].Control {
			case doorward.ControlNone, doorward.ControlCopyIn:
			default:
				return "with transaction control or cursors in the same request"
			}
		}
	}
	return ""
}

func (c *client) judgeOne(w *work, typ byte, body []byte) error {
	switch typ {
	case 'P':
		return c.judgeParse(w, body)
	case 'B':
		return c.judgeBind(w, body)
	case 'D':
		kind, name, err := wire.ParseNamed(body)
		if err != nil {
			return fail("08P01", "describe: %v", err)
		}
		o := op{kind: 'D', sub: kind, act: -1}
		if kind == 'S' {
			if o.prep = c.statement(w, name); o.prep == nil {
				return fail("26000", "prepared statement %q does not exist", clean(name))
			}
		} else {
			p, _ := c.portal(w, name)
			if p == nil {
				return fail("34000", "portal %q does not exist", clean(name))
			}
			o.port = p
		}
		w.ops = append(w.ops, o)
	case 'E':
		return c.judgeExecute(w, body)
	case 'C':
		kind, name, err := wire.ParseNamed(body)
		if err != nil {
			return fail("08P01", "close: %v", err)
		}
		w.ops = append(w.ops, op{kind: 'C', sub: kind, name: name, act: -1})
		if kind == 'S' {
			w.stmts = append(w.stmts, namedStatement{name, nil})
		} else {
			w.portals = append(w.portals, namedPortal{name, nil, -1})
		}
	case 'S':
		w.ops = append(w.ops, op{kind: 'S', act: -1})
	case 'H':
	}
	return nil
}

func (c *client) judgeParse(w *work, body []byte) error {
	m, err := wire.ParseParse(body)
	if err != nil {
		return fail("08P01", "parse: %v", err)
	}
	if m.Name != "" && len(c.stmts)+len(w.stmts) >= maxNames {
		return fail("53400", "more than %d prepared statements; close some", maxNames)
	}
	if m.Name == upstream.OwnName {
		return fail("42602", "the name %q is doorward's own", m.Name)
	}
	if err := c.room(len(m.SQL)); err != nil {
		return err
	}
	st, err := c.s.Read(c.s.Context(), m.SQL)
	if err != nil {
		return err
	}
	w.acts = append(w.acts, gate.Act{Statement: st, Prepare: true})
	if len(st.Reading.Statements) > 1 {
		return &doorward.Denial{Decision: "deny", Reason: "more than one statement in a prepared statement", Hint: "Prepare them one by one.", Code: "42601"}
	}
	p := &prepared{st: st, oids: m.OIDs}
	w.ops = append(w.ops, op{kind: 'P', name: m.Name, prep: p, act: -1})
	w.stmts = append(w.stmts, namedStatement{m.Name, p})
	return nil
}

// maxNames bounds the statements and portals that a session may hold.
const maxNames = 4000

// What a session may keep in statements and portals: small ones by number,
// those that are not by their bytes together.
const (
	maxKept = 32 << 20
	small   = 4 << 10
)

// room reports whether the session may keep n more bytes.
func (c *client) room(n int) error {
	if n <= small {
		return nil
	}
	for _, p := range c.stmts {
		n += len(p.st.Text)
	}
	for _, p := range c.portals {
		for i := range p.params {
			n += len(p.params[i].Value)
		}
	}
	if n > maxKept {
		return fail("53400", "prepared statements and portals of this session keep more than %d MiB; close some", maxKept>>20)
	}
	return nil
}

func (c *client) judgeBind(w *work, body []byte) error {
	m, err := wire.ParseBind(body)
	if err != nil {
		return fail("08P01", "bind: %v", err)
	}
	prep := c.statement(w, m.Statement)
	if prep == nil {
		return fail("26000", "prepared statement %q does not exist", clean(m.Statement))
	}
	if len(c.portals)+len(w.portals) >= maxNames {
		return fail("53400", "more than %d portals; close some", maxNames)
	}
	if m.Portal == upstream.OwnName {
		return fail("42602", "the name %q is doorward's own", m.Portal)
	}
	if err := c.room(len(body)); err != nil {
		return err
	}
	// The text is read again: the catalog, the rules or the names that it
	// speaks of may have changed since it was prepared.
	st, err := c.s.Read(c.s.Context(), prep.st.Text)
	if err != nil {
		return err
	}
	if st.Reading == prep.st.Reading {
		st = prep.st
	}
	p := &portal{st: st, prep: prep, results: m.Results, params: params(m, prep.oids)}
	w.stateful = w.stateful || st.Reading.Stateful
	w.acts = append(w.acts, gate.Act{Statement: st, Params: p.params, Opens: true})
	w.ops = append(w.ops, op{kind: 'B', name: m.Portal, port: p, st: st, act: w.runs() - 1, last: true})
	w.portals = append(w.portals, namedPortal{m.Portal, p, len(w.ops) - 1})
	return nil
}

// runs counts the acts that run, which are those that the permit numbers.
func (w *work) runs() int {
	n := 0
	for i := range w.acts {
		if !w.acts[i].Prepare {
			n++
		}
	}
	return n
}

func (c *client) judgeExecute(w *work, body []byte) error {
	name, _, err := wire.ParseExecute(body)
	if err != nil {
		return fail("08P01", "execute: %v", err)
	}
	p, bound := c.portal(w, name)
	if p == nil {
		if _, cursor := c.s.State.Cursor(name); cursor {
			return &doorward.Denial{Decision: "deny", Reason: "a cursor made in SQL is not executed as a portal here", Hint: "Use FETCH.", Code: "0A000"}
		}
		return fail("34000", "portal %q does not exist", clean(name))
	}
	if len(p.st.Reading.Statements) == 1 && p.st.Reading.Statements[0].Returns && !p.known {
		if p.prep.known {
			p.fields, p.known = withFormats(p.prep.desc, p.results), true
		} else if !c.described(w, p) {
			// Nobody asked what comes back, and masking must know.
			c.insert(w, wire.AppendNamed(nil, 'D', 'P', name))
			w.ops = append(w.ops, op{kind: 'd', sub: 'P', port: p, act: -1})
		}
	}
	o := op{kind: 'E', port: p, st: p.st, last: true}
	if bound >= 0 && w.ops[bound].last {
		o.act = w.ops[bound].act
		w.ops[bound].last = false
		w.executes(o.act)
	} else {
		st, err := c.s.Read(c.s.Context(), p.st.Text)
		if err != nil {
			return err
		}
		if bound < 0 && !reflect.DeepEqual(st.Reading, p.st.Reading) {
			return &doorward.Denial{Decision: "deny", Reason: "the rules or the target changed since this portal was bound", Hint: "Bind it again.", Retry: true, Code: "0A000"}
		}
		if p.st.Reading.Stateful {
			return &doorward.Denial{Decision: "deny", Reason: "a portal over a named statement or cursor is executed only in the batch that binds it", Code: "0A000"}
		}
		w.acts = append(w.acts, gate.Act{Statement: p.st, Params: p.params, Continues: p.permit})
		o.act = w.runs() - 1
	}
	w.ops = append(w.ops, o)
	return nil
}

// executes notes that the act with this place among those that run is executed
// in the batch that binds it.
func (w *work) executes(act int) {
	n := 0
	for i := range w.acts {
		if w.acts[i].Prepare {
			continue
		}
		if n == act {
			w.acts[i].Opens = false
			return
		}
		n++
	}
}

// described reports whether this batch asks for a description of the portal.
func (c *client) described(w *work, p *portal) bool {
	for i := range w.ops {
		if w.ops[i].port == p && (w.ops[i].kind == 'D' || w.ops[i].kind == 'd') {
			return true
		}
		if w.ops[i].prep == p.prep && w.ops[i].kind == 'D' {
			return true
		}
	}
	return false
}

// insert puts a message of doorward's own in front of the one being judged.
func (c *client) insert(w *work, frame []byte) {
	if !w.own {
		done := 0
		for i := range w.ops {
			if w.ops[i].kind != 'd' {
				done++
			}
		}
		// Every message judged so far but Flush has its op, and a Flush ends a batch.
		upTo := c.msgs[done].from
		w.frames = append(make([]byte, 0, len(c.batch)+len(frame)), c.batch[:upTo]...)
		w.own = true
	}
	w.frames = append(w.frames, frame...)
}

// statement finds a prepared statement as the batch has it.
func (c *client) statement(w *work, name string) *prepared {
	for i := len(w.stmts) - 1; i >= 0; i-- {
		if w.stmts[i].name == name {
			return w.stmts[i].prep
		}
	}
	return c.stmts[name]
}

// portal finds a portal as the batch has it, and the op that bound it here.
func (c *client) portal(w *work, name string) (*portal, int) {
	for i := len(w.portals) - 1; i >= 0; i-- {
		if w.portals[i].name == name {
			return w.portals[i].port, w.portals[i].op
		}
	}
	return c.portals[name], -1
}

// params copies the bound values: portals outlive the message.
func params(m wire.Bind, oids []uint32) []doorward.Param {
	if len(m.Values) == 0 {
		return nil
	}
	size := 0
	for _, v := range m.Values {
		size += len(v)
	}
	mem := make([]byte, 0, size)
	out := make([]doorward.Param, len(m.Values))
	for i, v := range m.Values {
		p := doorward.Param{Binary: wire.Format(m.Formats, i) == 1, Null: v == nil}
		if i < len(oids) {
			p.Type = oids[i]
		}
		if v != nil {
			at := len(mem)
			mem = append(mem, v...)
			p.Value = mem[at:len(mem):len(mem)]
		}
		out[i] = p
	}
	return out
}

// withFormats gives a statement's description the formats that Bind asked for.
func withFormats(desc []wire.Field, results []int16) []wire.Field {
	out := make([]wire.Field, len(desc))
	for i, f := range desc {
		f.Format = wire.Format(results, i)
		out[i] = f
	}
	return out
}
