package kubernetes

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxYAML bounds a body in YAML: clients that apply large objects send JSON.
const maxYAML = 512 << 10

// readYAML reads one YAML document for the JSON that it stands for. What
// readers of YAML take in different ways is a refusal: anchors, merges, tags,
// several documents, words and numbers that only some take for what they mean.
// It is the JSON that is judged and sent, so a fault here can change what a
// client asks for, and never what it gets without being asked about.
func readYAML(data []byte) (n *node, err error) {
	if len(data) > maxYAML {
		return nil, refuse(statusTooLarge, "send the object as JSON, with the same content type", "the body has %d bytes of YAML; the most is %d", len(data), maxYAML)
	}
	// The parser's own faults must not end the process.
	defer func() {
		if p := recover(); p != nil {
			n, err = nil, bad("the body cannot be read as YAML: %.100s", fmt.Sprint(p))
		}
	}()
	d := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc, more yaml.Node
	if err := d.Decode(&doc); err != nil {
		return nil, bad("the body is not YAML: %.200s", err.Error())
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, bad("the body holds several YAML documents").WithHint("send one object with each request")
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, bad("the body holds no YAML document")
	}
	t := translator{}
	n = t.value(doc.Content[0], 0)
	if t.err != nil {
		return nil, t.err
	}
	return n, nil
}

// translator makes nodes of YAML's. After an error it gives nothing any more.
type translator struct {
	n   int
	err *Refusal
}

func (t *translator) fail(y *yaml.Node, what string) *node {
	if t.err == nil {
		t.err = bad("the body is not YAML as it is let through: line %d, column %d: %s", y.Line, y.Column, what)
	}
	return &node{}
}

func (t *translator) value(y *yaml.Node, depth int) *node {
	if t.n++; t.n > maxValues {
		return t.fail(y, "it has too many values")
	}
	if depth > maxDepth {
		return t.fail(y, "it nests too deep")
	}
	if y.Anchor != "" || y.Kind == yaml.AliasNode {
		return t.fail(y, "anchors and aliases are not let through; write the value out")
	}
	if y.Style&yaml.TaggedStyle != 0 {
		return t.fail(y, "tags are not let through")
	}
	switch y.Kind {
	case yaml.MappingNode:
		return t.mapping(y, depth)
	case yaml.SequenceNode:
		n := &node{kind: arrayNode}
		for _, c := range y.Content {
			n.list = append(n.list, t.value(c, depth+1))
			if t.err != nil {
				break
			}
		}
		return n
	case yaml.ScalarNode:
		return t.scalar(y)
	}
	return t.fail(y, "this kind of value is not known")
}

func (t *translator) mapping(y *yaml.Node, depth int) *node {
	n := newObject()
	seen := map[string]bool{}
	for i := 0; i+1 < len(y.Content) && t.err == nil; i += 2 {
		k := y.Content[i]
		key := t.value(k, depth+1)
		switch {
		case t.err != nil:
			return n
		case key.kind != stringNode:
			return t.fail(k, "a key is not text; write it in quotes")
		case key.text == "<<":
			return t.fail(k, "merges are not let through; write the values out")
		case seen[key.text]:
			return t.fail(k, "a key stands twice in one object")
		}
		seen[key.text] = true
		n.keys, n.list = append(n.keys, key.text), append(n.list, t.value(y.Content[i+1], depth+1))
	}
	return n
}

// doubtful are words that some readers of YAML take for booleans.
var doubtful = set(strings.Fields("y n yes no on off"))

func (t *translator) scalar(y *yaml.Node) *node {
	const quote = "readers of YAML differ on this value; write it in quotes, or as JSON has it"
	if y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return stringOf(y.Value)
	}
	switch y.ShortTag() {
	case "!!null":
		return &node{kind: nullNode, text: "null"}
	case "!!bool":
		if v := strings.ToLower(y.Value); v == "true" || v == "false" {
			return &node{kind: boolNode, text: v}
		}
	case "!!int", "!!float":
		if jsonNumber(y.Value) {
			return &node{kind: numberNode, text: y.Value}
		}
	case "!!str":
		if !doubtful[strings.ToLower(y.Value)] {
			return stringOf(y.Value)
		}
	}
	return t.fail(y, quote)
}
