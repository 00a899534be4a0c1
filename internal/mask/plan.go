package mask

// Action says what a plan does with a column.
type Action uint8

// The actions of a plan.
const (
	Pass Action = iota // bytes pass as they are
	Scan               // values are searched for what the detect rules name
	Mask               // a column rule applies: every value is replaced
)

// String is "pass", "scan" or "mask".
func (a Action) String() string {
	switch a {
	case Scan:
		return "scan"
	case Mask:
		return "mask"
	}
	return "pass"
}

// PlanColumn describes one output column.
type PlanColumn struct {
	Masked string // name of the column pattern that applies (see [Set.Column]), or ""
	OID    uint32 // type; 0 when unknown
	Binary bool   // format code 1
	Scan   bool   // values may be searched
	Name   string // optional: the output name, as context for detection ("ssn", "phone")
}

// column is the decision for one output column, made once.
type column struct {
	action Action
	binary bool
	class  class
	elem   class // for arrays
	oid    uint32
	hint   hint
	by     transform
}

// transform is an operator with its key.
type transform struct {
	op  operator
	key *keyer // for keyed operators
}

// Plan masks the rows of one result. It holds buffers, so it is for one
// goroutine at a time. It keeps no reference to values between calls.
type Plan struct {
	cols    []column
	touches bool
	scan    *scanner
	buf     []byte // a decoded number
	elem    []byte // an array element, unescaped
	out     []byte // an array element, masked
}

// Plan decides what happens to each column of a result on a target.
func (s *Set) Plan(target string, cols []PlanColumn) *Plan {
	p := &Plan{cols: make([]column, len(cols))}
	_, wanted := s.detection(target)
	for i, c := range cols {
		d := &p.cols[i]
		d.oid, d.binary, d.class = c.OID, c.Binary, classOf(c.OID)
		if d.class == classArray {
			d.elem = classOf(elementOf(c.OID))
		}
		d.hint = hintOf(c.Name)
		switch {
		case c.Masked != "":
			d.action = Mask
			d.by.op = s.operatorFor(target, c.Masked)
			if d.by.op.keyed() {
				d.by.key = newKeyer(s.derive(operatorNames[d.by.op], target, c.Masked))
			}
		case c.Scan && wanted != 0 && scannable(d.class, d.elem, wanted):
			d.action = Scan
			if p.scan == nil {
				p.scan = newScanner(s, target)
			}
		}
		if d.action != Pass {
			p.touches = true
		}
	}
	return p
}

// Touches reports whether the plan changes, or may change, anything.
func (p *Plan) Touches() bool { return p.touches }

// Len is the number of columns.
func (p *Plan) Len() int { return len(p.cols) }

// Column says what happens to column i. A column that the plan does not know
// is masked.
func (p *Plan) Column(i int) Action {
	if i < 0 || i >= len(p.cols) {
		return Mask
	}
	return p.cols[i].action
}

// AppendField appends the masked form of a value that is not NULL to dst. When
// null is true the field must be sent as NULL, and dst is as it was. A column
// that the plan does not know becomes NULL.
func (p *Plan) AppendField(dst []byte, col int, v []byte) (out []byte, null bool) {
	if col < 0 || col >= len(p.cols) {
		return dst, true
	}
	c := &p.cols[col]
	n := len(dst)
	switch c.action {
	case Pass:
		return append(dst, v...), false
	case Scan:
		out, null = p.scanValue(dst, c, v)
	default:
		out, null = p.maskValue(dst, c, v)
	}
	if null {
		return out[:n], true
	}
	return out, false
}

// maskValue replaces a value of a masked column.
func (p *Plan) maskValue(dst []byte, c *column, v []byte) ([]byte, bool) {
	if c.by.op == opNull {
		return dst, true
	}
	if c.class != classArray {
		return p.appendScalar(dst, c.class, c.binary, c.by, v)
	}
	if c.binary {
		return p.appendBinaryArray(dst, c, v, false)
	}
	return p.appendTextArray(dst, c, v, false)
}

// scanValue searches a value and replaces what is found.
func (p *Plan) scanValue(dst []byte, c *column, v []byte) ([]byte, bool) {
	if c.class == classArray {
		if c.binary {
			return p.appendBinaryArray(dst, c, v, true)
		}
		return p.appendTextArray(dst, c, v, true)
	}
	return p.scanScalar(dst, c.class, c.binary, c.hint, v)
}
