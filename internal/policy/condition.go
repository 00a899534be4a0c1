package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/doorward/doorward"
)

// condition is a compiled `when`. The zero value is always true.
type condition struct {
	fast   func(*facts) bool   // the whole condition, when it cannot err
	guards []func(*facts) bool // conjuncts that cannot err: any false one settles it
	prog   cel.Program         // for what fast does not cover
	expr   ast.Expr            // nil when always true
	time   bool                // it asks for the time
}

// holds evaluates the condition. An error means that nobody can tell.
func (c *condition) holds(f *facts) (bool, error) {
	if c.expr == nil {
		return true, nil
	}
	if c.fast != nil {
		return c.fast(f), nil
	}
	// false && error is false in CEL, in either order.
	for _, g := range c.guards {
		if !g(f) {
			return false, nil
		}
	}
	out, _, err := c.prog.Eval(f.activation())
	if err != nil {
		return false, err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the condition gave %s, not true or false", out.Type().TypeName())
	}
	return bool(b), nil
}

// celError is a condition that does not compile.
type celError struct{ msg, hint string }

func (e *celError) Error() string { return e.msg }

func compileCondition(when string) (condition, error) {
	var c condition
	if strings.TrimSpace(when) == "" {
		return c, nil
	}
	if len(when) > maxExpression {
		return c, &celError{fmt.Sprintf("the condition has %d bytes; the most is %d", len(when), maxExpression), "split the rule"}
	}
	env, err := environment()
	if err != nil {
		return c, err
	}
	tree, issues := env.Compile(when)
	if issues != nil && issues.Err() != nil {
		return c, explain(when, issues)
	}
	if tree.OutputType() != cel.BoolType {
		return c, &celError{fmt.Sprintf("the condition gives %s, not true or false", tree.OutputType()), "compare it with something, as in effect.bound <= 100"}
	}
	c.expr = tree.NativeRep().Expr()
	if makes(c.expr) {
		return condition{}, &celError{"a condition looks at what there is; it cannot make objects", "compare fields, as in o.name == 'public.orders'"}
	}
	c.time = mentions(c.expr, "time")
	if fast, ok := fastBool(c.expr); ok {
		c.fast = fast
		return c, nil
	}
	for _, part := range conjuncts(c.expr) {
		if g, ok := fastBool(part); ok {
			c.guards = append(c.guards, g)
		}
	}
	c.prog, err = env.Program(tree, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	if err != nil {
		return c, &celError{"the condition cannot be prepared: " + err.Error(), ""}
	}
	return c, nil
}

var (
	undefinedField = regexp.MustCompile(`undefined field '([^']+)'`)
	undeclared     = regexp.MustCompile(`undeclared reference to '([^']+)'`)
)

// explain turns CEL's issues into one message with a suggestion.
func explain(when string, issues *cel.Issues) error {
	errs := issues.Errors()
	if len(errs) == 0 {
		return &celError{"the condition does not compile: " + issues.Err().Error(), ""}
	}
	first := errs[0]
	msg, _, _ := strings.Cut(first.Message, "\n")
	e := &celError{msg: fmt.Sprintf("column %d of the condition: %s", first.Location.Column()+1, clip(msg, 300))}
	if line := first.Location.Line(); line > 1 {
		e.msg = fmt.Sprintf("line %d, %s", line, e.msg)
	}
	if m := undefinedField.FindStringSubmatch(msg); m != nil {
		var all []string
		for _, v := range sortedVariables() {
			all = append(all, fieldNames(variables[v])...)
		}
		all = append(all, "kind", "name", "verbs")
		e.hint = suggest(m[1], all, "")
		for _, v := range sortedVariables() {
			if strings.Contains(when, v+"."+m[1]) {
				e.hint = suggest(m[1], fieldNames(variables[v]), v+".")
				break
			}
		}
	} else if m := undeclared.FindStringSubmatch(msg); m != nil {
		if hit := Closest(m[1], append(sortedVariables(), "glob")); hit != "" {
			e.hint = fmt.Sprintf("did you mean %s?", hit)
		} else {
			e.hint = "known are " + strings.Join(sortedVariables(), ", ") + " and glob(text, pattern); texts stand in quotes"
		}
	}
	return e
}

func suggest(word string, known []string, prefix string) string {
	if hit := Closest(word, known); hit != "" {
		return fmt.Sprintf("did you mean %s%s?", prefix, hit)
	}
	if prefix == "" {
		return ""
	}
	return "known are " + prefix + strings.Join(known, ", "+prefix)
}

func sortedVariables() []string {
	var out []string
	for v := range variables {
		out = append(out, v)
	}
	slices.Sort(out)
	return out
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// conjuncts are the parts of a && b && c.
func conjuncts(e ast.Expr) []ast.Expr {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.LogicalAnd {
		var out []ast.Expr
		for _, a := range e.AsCall().Args() {
			out = append(out, conjuncts(a)...)
		}
		return out
	}
	return []ast.Expr{e}
}

// mentions reports whether the expression uses the variable anywhere. A
// comprehension's own variable of that name counts too: that errs to the safe
// side.
func mentions(e ast.Expr, name string) bool {
	found := false
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.IdentKind && strings.TrimPrefix(x.AsIdent(), ".") == name {
			found = true
		}
	}))
	return found
}

// makes reports whether the expression constructs a message.
func makes(e ast.Expr) bool {
	found := false
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(x ast.Expr) { found = found || x.Kind() == ast.StructKind }))
	return found
}

// selected gives variable and field for expressions like effect.writes.
func selected(e ast.Expr) (variable, name string, ok bool) {
	if e.Kind() != ast.SelectKind {
		return "", "", false
	}
	s := e.AsSelect()
	if s.IsTestOnly() || s.Operand().Kind() != ast.IdentKind {
		return "", "", false
	}
	variable = s.Operand().AsIdent()
	if _, known := fields[variables[variable]][s.FieldName()]; !known {
		return "", "", false
	}
	return variable, s.FieldName(), true
}

func literal[T any](e ast.Expr) (T, bool) {
	var zero T
	if e.Kind() != ast.LiteralKind {
		return zero, false
	}
	v, ok := e.AsLiteral().Value().(T)
	return v, ok
}

// fastBool turns the common conditions into closures: constants, fields, and,
// or, not, comparison with a constant, membership of a constant. What it
// accepts cannot err, and means exactly what CEL means by it; a test compares
// the two.
func fastBool(e ast.Expr) (func(*facts) bool, bool) {
	if b, ok := literal[bool](e); ok {
		return func(*facts) bool { return b }, true
	}
	if v, name, ok := selected(e); ok {
		fld := fields[variables[v]][name]
		if fld.typ != types.BoolType {
			return nil, false
		}
		return func(f *facts) bool { b, _ := fld.get(f).(bool); return b }, true
	}
	if e.Kind() != ast.CallKind {
		return nil, false
	}
	call := e.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case operators.LogicalAnd, operators.LogicalOr:
		parts := make([]func(*facts) bool, len(args))
		for i, a := range args {
			p, ok := fastBool(a)
			if !ok {
				return nil, false
			}
			parts[i] = p
		}
		settles := call.FunctionName() == operators.LogicalOr
		return func(f *facts) bool {
			for _, p := range parts {
				if p(f) == settles {
					return settles
				}
			}
			return !settles
		}, true
	case operators.LogicalNot:
		p, ok := fastBool(args[0])
		if !ok {
			return nil, false
		}
		return func(f *facts) bool { return !p(f) }, true
	case operators.In:
		word, ok := literal[string](args[0])
		v, name, ok2 := selected(args[1])
		if !ok || !ok2 {
			return nil, false
		}
		return fastIn(word, v, name)
	case operators.Equals, operators.NotEquals:
		want := call.FunctionName() == operators.Equals
		if get, word, ok := stringAndLiteral(args); ok {
			return func(f *facts) bool { return (get(f) == word) == want }, true
		}
	}
	return fastCompare(call.FunctionName(), args)
}

func fastIn(word, variable, name string) (func(*facts) bool, bool) {
	switch variable + "." + name {
	case "effect.verbs":
		verb, ok := doorward.ParseVerb(word)
		return func(f *facts) bool { return ok && f.effect.Verbs.Has(verb) }, true
	case "effect.kinds":
		return func(f *facts) bool { return slices.Contains(f.effect.Kinds, word) }, true
	case "effect.masked_columns":
		return func(f *facts) bool { return slices.Contains(f.effect.Masked, word) }, true
	case "identity.groups":
		return func(f *facts) bool { return slices.Contains(f.identity.Groups, word) }, true
	}
	return nil, false
}

// stringAndLiteral recognises a string field and a constant, in either order.
func stringAndLiteral(args []ast.Expr) (func(*facts) string, string, bool) {
	for i := range 2 {
		v, name, ok := selected(args[i])
		word, ok2 := literal[string](args[1-i])
		if !ok || !ok2 {
			continue
		}
		if get := stringField(v + "." + name); get != nil {
			return get, word, true
		}
	}
	return nil, "", false
}

func stringField(path string) func(*facts) string {
	switch path {
	case "effect.refuse":
		return func(f *facts) string { return f.effect.Refuse }
	case "identity.name":
		return func(f *facts) string { return f.identity.Name }
	case "identity.subject":
		return func(f *facts) string { return f.identity.Subject }
	case "identity.agent":
		return func(f *facts) string { return f.identity.Agent }
	case "identity.run":
		return func(f *facts) string { return f.identity.Run }
	case "identity.provider":
		return func(f *facts) string { return f.identity.Provider }
	case "target.name":
		return func(f *facts) string { return f.target }
	case "target.protocol":
		return func(f *facts) string { return f.protocol }
	}
	return nil
}

// fastCompare does effect.bound and time.hour against whole numbers.
func fastCompare(op string, args []ast.Expr) (func(*facts) bool, bool) {
	if len(args) != 2 {
		return nil, false
	}
	v, name, ok := selected(args[0])
	n, ok2 := literal[int64](args[1])
	if !ok || !ok2 {
		return nil, false
	}
	var get func(*facts) int64
	switch v + "." + name {
	case "effect.bound":
		get = func(f *facts) int64 { return f.effect.Bound }
	case "time.hour":
		get = func(f *facts) int64 { return int64(f.now.UTC().Hour()) }
	default:
		return nil, false
	}
	switch op {
	case operators.Equals:
		return func(f *facts) bool { return get(f) == n }, true
	case operators.NotEquals:
		return func(f *facts) bool { return get(f) != n }, true
	case operators.Less:
		return func(f *facts) bool { return get(f) < n }, true
	case operators.LessEquals:
		return func(f *facts) bool { return get(f) <= n }, true
	case operators.Greater:
		return func(f *facts) bool { return get(f) > n }, true
	case operators.GreaterEquals:
		return func(f *facts) bool { return get(f) >= n }, true
	}
	return nil, false
}

// asCELError finds the hint of a condition's error.
func asCELError(err error) (msg, hint string) {
	var ce *celError
	if errors.As(err, &ce) {
		return ce.msg, ce.hint
	}
	return err.Error(), ""
}

// Closest is the candidate that the word was probably meant to be, or "".
func Closest(word string, candidates []string) string {
	best, bestDistance := "", 1+max(1, len(word)/3)
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the number of letters to add, drop, replace or swap.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 1 << 20
	}
	var before []int
	prev, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before = append(before[:0], prev...)
		prev, row = row, prev
	}
	return prev[len(b)]
}
