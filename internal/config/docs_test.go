package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// The manual shows every key there is, and what it shows loads.
func TestManualPage(t *testing.T) {
	b, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(page)
	if block == nil {
		t.Fatal("there is no YAML on the page")
	}
	if _, err := Parse("configuration.md", []byte(block[1])); err != nil {
		t.Errorf("%v", err)
	}
	shown := page
	if b, err = os.ReadFile("../../docs/policy.md"); err != nil {
		t.Fatal(err)
	}
	shown += string(b)
	var walk func(typ reflect.Type, path string)
	walk = func(typ reflect.Type, path string) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(typ.Elem(), path)
			return
		case reflect.Struct:
		default:
			return
		}
		names, at := fieldsOf(typ)
		for _, n := range names {
			if !regexp.MustCompile(`\b` + n + `\b`).MatchString(shown) {
				t.Errorf("the manual does not show %s", strings.TrimPrefix(path+"."+n, "."))
			}
			walk(typ.Field(at[n]).Type, path+"."+n)
		}
	}
	walk(reflect.TypeFor[Config](), "")
}

// So does every example of the policy page that has rules.
func TestPolicyPage(t *testing.T) {
	b, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	const targets = "targets:\n  orders-db: { postgres: { address: 'h:1', database: d, user: u } }\n  app: { postgres: { address: 'h:1', database: d, user: u } }\n"
	n := 0
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(b), -1) {
		text := m[1]
		switch {
		case strings.HasPrefix(text, "policy:"):
			text = targets + text
		case strings.HasPrefix(text, "- name:"):
			text = targets + "policy:\n  rules:\n" + regexp.MustCompile(`(?m)^`).ReplaceAllString(text, "    ")
		case strings.HasPrefix(text, "when:"):
			for line := range strings.Lines(text) {
				n++
				if _, err := Parse("policy.md", []byte("policy:\n  rules:\n    - name: x\n      targets: ['*']\n      then: deny\n      "+line)); err != nil {
					t.Errorf("%s: %v", line, err)
				}
			}
			continue
		default:
			continue
		}
		n++
		if _, err := Parse("policy.md", []byte(text)); err != nil {
			t.Errorf("%v", err)
		}
	}
	if n < 6 {
		t.Errorf("only %d examples were found", n)
	}
}

// The standard policies load, alone and together.
func TestStandardPolicies(t *testing.T) {
	for _, names := range [][]string{{"P1"}, {"P2"}, {"P3"}, {"P4"}, {"P2", "P3"}, {"P1", "P4"}, {"P2", "P4"}, {"P1", "P2", "P3", "P4"}} {
		var files []string
		for _, n := range names {
			files = append(files, "../../e2e/policies/"+n+".yaml")
		}
		if _, err := LoadFiles(files...); err != nil {
			t.Errorf("%v: %v", names, err)
		}
	}
}
