package config

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// Whatever becomes of the example, it is taken or refused with its problems,
// and never brings the reader down.
func TestMutations(t *testing.T) {
	pieces := []string{"[", "]", "{", "}", ":", ": ", "- ", "\n", "\n  ", "#", "&a", "*a", "!t", "!!binary ", "|", ">-", "'", "\"", "\\", "~", "null", "<<: ", "? ", "---\n", "%YAML", "\t", "\x00", "\xff", "0x1", "1e9", ".inf", "env:", "@", "`", ","}
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(manual)
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			at := rapid.IntRange(0, len(text)).Draw(t, "at")
			to := min(len(text), at+rapid.IntRange(0, 40).Draw(t, "length"))
			var in string
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				in = rapid.SampledFrom(pieces).Draw(t, "piece")
			case 1:
				from := rapid.IntRange(0, len(text)).Draw(t, "from")
				in = string(text[from:min(len(text), from+60)])
			}
			text = append(append(append([]byte{}, text[:at]...), in...), text[to:]...)
		}
		c, err := Parse("f.yaml", text)
		var ps Problems
		switch {
		case err == nil && c.CompiledPolicy() == nil:
			t.Fatal("no policy")
		case err != nil && (!errors.As(err, &ps) || len(ps) == 0):
			t.Fatalf("not Problems: %v", err)
		}
	})
}
