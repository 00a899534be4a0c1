package kubernetes

import (
	"strings"
	"testing"
	"time"
)

// No body takes long, whatever it repeats.
func TestNothingTakesLong(t *testing.T) {
	for _, unit := range []string{"[", "{", "- ", "? ", "a: ", "{a: ", "[a, ", "'", "\"", "|\n", ">\n ", "&a ", "*a ", "!a ", "---\n", "#\n", "a\n", "a: b\n", " a:\n  ", "\"\\x41", "%a\n", "- - -\n", "{a: [", "[{", ",", ":", "a: |\n b\n", "\t", "{\"a\":", "[\"", "- a\n", "a:\n- ", "? a\n: b\n", "[a: ", "{?", "''", "\"\"", "\\", "é", "\u2028", "\u0085", "\x00", "1", "~", "<<: ", "\n", " ", "- [\n"} {
		for _, n := range []int{maxYAML / len(unit), 4000 / len(unit)} {
			body := strings.Repeat(unit, n)
			start := time.Now()
			_, err := readYAML([]byte(body))
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("YAML %q × %d takes %v: %.100v", unit, n, took, err)
			}
			start = time.Now()
			_, _ = readJSON([]byte(strings.Repeat(unit, MaxBody/len(unit))))
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("JSON %q × %d takes %v", unit, n, took)
			}
		}
	}
}
