package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/doorward/doorward/internal/policy"
)

// Bounds of a file.
const (
	maxFile    = 1 << 20
	maxDepth   = 40
	maxNodes   = 200_000
	maxProblem = 50 // reported at once
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	File string
	Line int
	Col  int
	Path string // such as policy.rules[2].when
	Msg  string
	Hint string
}

// Error is file:line:column, the place, what is wrong and what was meant.
func (p *Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Msg)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Problems are all the things that are wrong, by place.
type Problems []*Problem

// Error lists them, one a line.
func (ps Problems) Error() string {
	var lines []string
	for i, p := range ps {
		if i == maxProblem {
			lines = append(lines, fmt.Sprintf("and %d more problems", len(ps)-i))
			break
		}
		lines = append(lines, p.Error())
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
}

// place is where something was written.
type place struct {
	file      string
	line, col int
}

// index knows where each path was written.
type index map[string]place

// find gives the place of the path, or of the nearest thing around it.
func (x index) find(path string) place {
	for {
		if p, ok := x[path]; ok || path == "" {
			return p
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			cut = 0
		}
		path = path[:cut]
	}
}

func (x index) problem(path, msg, hint string) *Problem {
	p := x.find(path)
	return &Problem{File: p.file, Line: p.line, Col: p.col, Path: path, Msg: msg, Hint: hint}
}

// decoder fills Go values from the tree that the YAML parser made. It is its
// own, rather than the library's, so that each problem names its place and
// what was meant, and no source line (which may hold a secret) is shown.
type decoder struct {
	file     string
	where    index
	problems Problems
	nodes    int
}

func (d *decoder) bad(node ast.Node, path, msg, hint string) {
	p := d.at(node)
	d.problems = append(d.problems, &Problem{File: d.file, Line: p.line, Col: p.col, Path: path, Msg: msg, Hint: hint})
}

func (d *decoder) at(node ast.Node) place {
	if m, ok := node.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		return d.at(m.Values[0].Key) // the mapping's own token is the first colon
	}
	if node != nil && !reflect.ValueOf(node).IsNil() {
		if t := node.GetToken(); t != nil && t.Position != nil {
			return place{d.file, t.Position.Line, t.Position.Column}
		}
	}
	return place{file: d.file, line: 1, col: 1}
}

// decode reads data into out, a pointer to a struct.
func decode(file string, data []byte, out any) (index, error) {
	d := &decoder{file: file, where: index{"": {file, 1, 1}}}
	fail := func(line int, msg, hint string) (index, error) {
		return nil, Problems{{File: file, Line: line, Col: 1, Msg: msg, Hint: hint}}
	}
	if len(data) > maxFile {
		return fail(0, fmt.Sprintf("the file has %d bytes; the most is %d", len(data), maxFile), "")
	}
	if line := tooDeep(data); line > 0 {
		return fail(line, fmt.Sprintf("nested more than %d deep", maxDepth), "")
	}
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, Problems{syntaxProblem(file, err)}
	}
	var root ast.Node
	for _, doc := range tree.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if root != nil {
			return fail(d.at(doc.Body).line, "there is a second document in the file", "remove the --- between them")
		}
		root = doc.Body
	}
	if root != nil {
		d.value(root, reflect.ValueOf(out).Elem(), "", 0)
	}
	if len(d.problems) > 0 {
		d.problems.sort()
		return nil, d.problems
	}
	return d.where, nil
}

// tooDeep gives the first line that nests too deep to be parsed safely, or 0.
// It looks at indicators only, before the parser recurses: brackets that are
// open, and indicators at the start of a line.
func tooDeep(data []byte) int {
	const most = maxDepth + 10
	depth, line, run, start := 0, 1, 0, true
	for _, c := range data {
		switch c {
		case '\n':
			line, run, start = line+1, 0, true
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		switch {
		case !start || c == ' ' || c == '\t' || c == '\r':
		case strings.IndexByte("-?:!&|>", c) >= 0:
			run++
		default:
			start = false
		}
		if run > most || depth > most {
			return line
		}
	}
	return 0
}

func syntaxProblem(file string, err error) *Problem {
	p := &Problem{File: file, Line: 1, Col: 1, Msg: "not YAML"}
	var ye yaml.Error
	if errors.As(err, &ye) {
		p.Msg = "not YAML: " + clip(ye.GetMessage(), 200)
		if t := ye.GetToken(); t != nil && t.Position != nil {
			p.Line, p.Col = t.Position.Line, t.Position.Column
		}
	}
	if strings.Contains(p.Msg, "mapping key") && strings.Contains(p.Msg, "already defined") {
		p.Hint = "each key once"
	}
	if strings.Contains(p.Msg, "'\t'") {
		p.Hint = "indent with blanks"
	}
	return p
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[policy.Size]()
	secretType   = reflect.TypeFor[Secret]()
)

func (d *decoder) value(node ast.Node, out reflect.Value, path string, depth int) {
	if d.nodes++; d.nodes > maxNodes || depth > maxDepth {
		if d.nodes <= maxNodes+1 {
			d.bad(node, path, "too much in one file", "")
		}
		return
	}
	if _, ok := d.where[path]; !ok {
		d.where[path] = d.at(node)
	}
	switch n := node.(type) {
	case *ast.AnchorNode, *ast.AliasNode:
		d.bad(node, path, "anchors and aliases (& and *) are not read", `write the value out; a pattern that starts with * stands in quotes, as in "*"`)
		return
	case *ast.TagNode:
		d.bad(node, path, "YAML reads a leading ! as a tag", "put the text in quotes, as in '!effect.unbounded'")
		return
	case *ast.MappingValueNode:
		node = ast.Mapping(n.Start, false, n)
	}
	if node.Type() == ast.NullType {
		return
	}
	switch {
	case out.Type() == durationType:
		d.duration(node, out, path)
	case out.Type() == sizeType:
		d.size(node, out, path)
	case out.Kind() == reflect.Pointer:
		p := reflect.New(out.Type().Elem())
		d.value(node, p.Elem(), path, depth)
		out.Set(p)
	case out.Kind() == reflect.Struct:
		d.structure(node, out, path, depth)
	case out.Kind() == reflect.Map:
		d.mapping(node, out, path, depth)
	case out.Kind() == reflect.Slice:
		d.sequence(node, out, path, depth)
	default:
		d.scalar(node, out, path)
	}
}

// fieldsOf gives the keys of a struct with their field numbers.
func fieldsOf(t reflect.Type) (names []string, at map[string]int) {
	at = map[string]int{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if !f.IsExported() || name == "" || name == "-" {
			continue
		}
		names = append(names, name)
		at[name] = i
	}
	return names, at
}

func (d *decoder) structure(node ast.Node, out reflect.Value, path string, depth int) {
	m, ok := node.(*ast.MappingNode)
	names, at := fieldsOf(out.Type())
	if !ok {
		if out.Type() == secretType {
			d.bad(node, path, "a secret is not written here as plain text", "write { env: NAME } or { file: PATH }; for development also { value: … }")
			return
		}
		d.bad(node, path, "here stands "+kindOf(node)+" where keys with values are wanted", "known keys are "+strings.Join(names, ", "))
		return
	}
	for _, kv := range m.Values {
		key, ok := d.key(kv, path)
		if !ok {
			continue
		}
		i, known := at[key]
		if !known {
			hint := "known keys are " + strings.Join(names, ", ")
			if hit := policy.Closest(key, names); hit != "" {
				hint = "did you mean " + hit + "?"
			}
			d.bad(kv.Key, path, fmt.Sprintf("unknown key %q", clip(key, 60)), hint)
			continue
		}
		sub := join(path, key)
		d.where[sub] = d.at(kv.Key)
		d.value(kv.Value, out.Field(i), sub, depth+1)
	}
}

func (d *decoder) mapping(node ast.Node, out reflect.Value, path string, depth int) {
	m, ok := node.(*ast.MappingNode)
	if !ok {
		d.bad(node, path, "here stands "+kindOf(node)+" where names with values are wanted", "")
		return
	}
	made := reflect.MakeMap(out.Type())
	for _, kv := range m.Values {
		key, ok := d.key(kv, path)
		if !ok {
			continue
		}
		sub := join(path, key)
		d.where[sub] = d.at(kv.Key)
		v := reflect.New(out.Type().Elem()).Elem()
		d.value(kv.Value, v, sub, depth+1)
		made.SetMapIndex(reflect.ValueOf(key), v)
	}
	out.Set(made)
}

func (d *decoder) key(kv *ast.MappingValueNode, path string) (string, bool) {
	switch k := kv.Key.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.MergeKeyNode:
		d.bad(kv.Key, path, "merge keys (<<) are not read", "write the keys out")
	case *ast.IntegerNode, *ast.BoolNode, *ast.FloatNode:
		return k.GetToken().Value, true
	default:
		d.bad(kv.Key, path, "a key is a plain name", "")
	}
	return "", false
}

func (d *decoder) sequence(node ast.Node, out reflect.Value, path string, depth int) {
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		d.bad(node, path, "here stands "+kindOf(node)+" where a list is wanted", "write it in brackets, as in [a, b]")
		return
	}
	made := reflect.MakeSlice(out.Type(), len(seq.Values), len(seq.Values))
	for i, v := range seq.Values {
		sub := fmt.Sprintf("%s[%d]", path, i)
		if v == nil || v.Type() == ast.NullType {
			d.bad(node, sub, "an entry of the list is empty", "")
			continue
		}
		d.value(v, made.Index(i), sub, depth+1)
	}
	out.Set(made)
}

// text gives the text of a scalar as it was written.
func text(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func quoted(node ast.Node) bool {
	t := node.GetToken()
	return t != nil && (t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType)
}

func (d *decoder) scalar(node ast.Node, out reflect.Value, path string) {
	s, ok := text(node)
	if !ok {
		d.bad(node, path, "here stands "+kindOf(node)+" where one value is wanted", "")
		return
	}
	switch out.Kind() {
	case reflect.String:
		out.SetString(s)
	case reflect.Bool:
		switch {
		case s == "true" && !quoted(node):
			out.SetBool(true)
		case s == "false" && !quoted(node):
		default:
			d.bad(node, path, "this is neither true nor false", "write true or false, without quotes")
		}
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
		if err != nil || quoted(node) {
			d.bad(node, path, "this is not a whole number", "write digits only, as in 100000")
			return
		}
		out.SetInt(n)
	default:
		d.bad(node, path, "a value of this kind cannot be read", "")
	}
}

func (d *decoder) duration(node ast.Node, out reflect.Value, path string) {
	s, _ := text(node)
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		d.bad(node, path, "this is not a length of time", "write a number and a unit, as in 30s, 5m or 1h")
		return
	}
	out.SetInt(int64(v))
}

func (d *decoder) size(node ast.Node, out reflect.Value, path string) {
	s, _ := text(node)
	v, err := policy.ParseSize(s)
	if err != nil {
		d.bad(node, path, "this is not a size", "write a whole number and a unit, as in 64MiB or 256KiB")
		return
	}
	out.SetInt(int64(v))
}

func kindOf(node ast.Node) string {
	switch node.(type) {
	case *ast.MappingNode:
		return "a set of keys"
	case *ast.SequenceNode:
		return "a list"
	}
	return "a single value"
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
