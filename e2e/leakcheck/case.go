package leakcheck

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// Case is one line of the kit: a way to get at a masked value, or a question
// whose answer tells something about one.
type Case struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Role    string   `json:"role"` // agent or owner: the account that doorward uses
	Kind    string   `json:"kind"` // leak or oracle
	Channel string   `json:"channel"`
	Steps   []Step   `json:"steps"`
	Alt     []Step   `json:"alt"` // of an oracle: the question with the other answer
	Secrets []string `json:"secrets"`
	Absent  []string `json:"absent"`
}

// Step is one thing that the client, or somebody beside it, does.
type Step struct {
	Q        *string  `json:"q"`         // simple query
	Bin      *string  `json:"bin"`       // extended, binary results
	Max      uint32   `json:"max"`       // rows an Execute of Bin
	Fast     *string  `json:"fast"`      // function call message
	Args     []string `json:"args"`      // of Fast: "type:value"
	Other    *string  `json:"other"`     // a query by another session beside doorward
	OtherApp *string  `json:"other_app"` // its application_name
}

func (s Step) text() string {
	for _, p := range []*string{s.Q, s.Bin, s.Fast, s.Other, s.OtherApp} {
		if p != nil {
			return *p
		}
	}
	return ""
}

// Load reads a file of cases; blind gives their values formats that no
// detector knows.
func Load(file string, blind bool) ([]*Case, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []*Case
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 16<<20)
	for n := 1; s.Scan(); n++ {
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		var doc any
		if err := json.Unmarshal(s.Bytes(), &doc); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		if blind {
			doc = blindAll(doc)
		}
		line, err := json.Marshal(doc)
		if err != nil {
			return nil, err
		}
		c := new(Case)
		if err := json.Unmarshal(line, c); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		if blind {
			for i, a := range c.Absent {
				if to, ok := blindAbsent[a]; ok {
					c.Absent[i] = to
				}
			}
		}
		out = append(out, c)
	}
	return out, s.Err()
}

var (
	blindMail = regexp.MustCompile(`([a-z.]+)@secretmail\.test`)
	blindSSN  = regexp.MustCompile(`\b(\d\d)(\d)-(\d\d)-(\d{4})\b`)
	blindRest = strings.NewReplacer(
		"'536-22-'", "'53-622-'", "536%", "53%", "fdg-cc-ibeh", "fd-gcc-ibeh", "241*55*?630", "24*155*?630",
		"4539578763621486", "9539578763621486", "9079157527242972", "19079157527242972", "5425233430109903", "9425233430109903",
		"374245455400126", "974245455400126", "6011000990139424", "9011000990139424", "'45%'", "'95%'", "'46%'", "'96%'")
	blindAbsent = map[string]string{
		bits("536-22-8147"):                        bits("53-622-8147"),
		fmt.Sprintf("\\x:%016x", 4539578763621486): fmt.Sprintf("\\x:%016x", 9539578763621486),
	}
)

// bits writes each character as eight binary digits, lowest first.
func bits(s string) string {
	var out []byte
	for _, c := range []byte(s) {
		out = append(out, reverse([]byte(fmt.Sprintf("%08b", c)))...)
	}
	return string(out)
}

// Blind gives the values in a text formats that no detector knows.
func Blind(s string) string {
	s = blindMail.ReplaceAllString(s, "$1/secretmail-test")
	s = strings.ReplaceAll(s, "secretmail.test", "secretmail-test")
	s = blindSSN.ReplaceAllString(s, "$1-$2$3-$4")
	return blindRest.Replace(s)
}

func blindAll(v any) any {
	switch v := v.(type) {
	case string:
		return Blind(v)
	case []any:
		for i := range v {
			v[i] = blindAll(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = blindAll(v[k])
		}
	}
	return v
}
