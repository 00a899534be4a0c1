package cases

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Case is one line of a corpus file.
type Case struct {
	ID       string   `json:"id"`
	Protocol string   `json:"protocol"`
	Kind     string   `json:"kind"` // attack, robustness or benign
	Title    string   `json:"title"`
	Policy   []string `json:"policy"`
	Input    Input    `json:"input"`
	Expect   struct {
		Outcome string   `json:"outcome"`
		Accept  []string `json:"accept"`
	} `json:"expect"`
	Why   string   `json:"why"`
	Tags  []string `json:"tags"`
	Check Check    `json:"check"`

	line []byte // as it stood in the file, before substitution
}

// Input is what the client does.
type Input struct {
	Type    string            `json:"type"` // sql or script
	Steps   []Step            `json:"steps"`
	Session []string          `json:"session"`
	Startup map[string]string `json:"startup"`
	Text
}

// Text is a piece of SQL in one of three forms.
type Text struct {
	SQL *string `json:"sql"`
	Hex *string `json:"hex"`
	Gen *struct {
		Prefix string `json:"prefix"`
		Unit   string `json:"unit"`
		Count  int    `json:"count"`
		Suffix string `json:"suffix"`
	} `json:"gen"`
}

// Bytes of the text.
func (t Text) Bytes() ([]byte, error) {
	switch {
	case t.Hex != nil:
		return hex.DecodeString(*t.Hex)
	case t.Gen != nil:
		if n := len(t.Gen.Unit) * t.Gen.Count; t.Gen.Count < 0 || n > 256<<20 {
			return nil, fmt.Errorf("gen of %d bytes is over the bound of 256 MiB", n)
		}
		return []byte(t.Gen.Prefix + strings.Repeat(t.Gen.Unit, t.Gen.Count) + t.Gen.Suffix), nil
	case t.SQL != nil:
		return []byte(*t.SQL), nil
	}
	return nil, fmt.Errorf("neither sql nor hex nor gen is given")
}

// Step is one step of a script.
type Step struct {
	Op            string          `json:"op"`
	Conn          string          `json:"conn"`
	NoNul         bool            `json:"no_nul"`
	Stmt          string          `json:"stmt"`
	Portal        string          `json:"portal"`
	OIDs          []uint32        `json:"oids"`
	Params        json.RawMessage `json:"params"` // of connect: an object; of B: an array
	ExtraPairs    [][2]string     `json:"extra_pairs"`
	Version       uint32          `json:"version"`
	Formats       []int16         `json:"formats"`
	ResultFormats []int16         `json:"result_formats"`
	Max           uint32          `json:"max"`
	Kind          string          `json:"kind"`
	Name          string          `json:"name"`
	Func          string          `json:"func"`
	OID           uint32          `json:"oid"`
	Args          []any           `json:"args"`
	For           string          `json:"for"`
	TimeoutMS     int             `json:"timeout_ms"`
	Of            string          `json:"of"`
	XorSecret     uint32          `json:"xor_secret"`
	MS            int             `json:"ms"`
	Text
}

// Check says how the effect is seen.
type Check struct {
	Role        string   `json:"role"` // owner, super or ro: the account that doorward uses
	Probe       *string  `json:"probe"`
	Before      string   `json:"before"`
	After       string   `json:"after"`
	ProbeDB     string   `json:"probe_db"`
	Leak        []string `json:"leak"`
	Evidence    []string `json:"evidence"`
	Contains    []string `json:"contains"`
	Rows        *int     `json:"rows"`
	OK          bool     `json:"ok"`
	ServerError string   `json:"server_error"`
	MinMS       int      `json:"min_ms"`
	HangMS      int      `json:"hang_ms"`
	ConnClosed  bool     `json:"conn_closed"`
	Setup       []string `json:"setup"`
	Cleanup     []string `json:"cleanup"`
	NoDirect    string   `json:"no_direct"`
}

// Load reads the Postgres cases of files.
func Load(files ...string) ([]*Case, error) {
	var out []*Case
	err := Lines(files, func(line []byte) error {
		var c Case
		if err := json.Unmarshal(line, &c); err != nil {
			return err
		}
		c.line = bytes.Clone(line)
		if c.Protocol == "postgres" {
			out = append(out, &c)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Lines calls fn with each line of the files that holds something. An error
// tells the file and the line.
func Lines(files []string, fn func(line []byte) error) error {
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		s := bufio.NewScanner(bytes.NewReader(b))
		s.Buffer(nil, 64<<20)
		for n := 1; s.Scan(); n++ {
			line := bytes.TrimSpace(s.Bytes())
			if len(line) == 0 {
				continue
			}
			if err := fn(line); err != nil {
				return fmt.Errorf("%s:%d: %w", f, n, err)
			}
		}
		if err := s.Err(); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	return nil
}

// at gives the case with the database and the server's port put in.
func (c *Case) at(db string, port int) (*Case, error) {
	line := bytes.ReplaceAll(c.line, []byte("$DB"), []byte(db))
	line = bytes.ReplaceAll(line, []byte("$PORT"), []byte(strconv.Itoa(port)))
	out := &Case{line: c.line}
	return out, json.Unmarshal(line, out)
}

// steps gives the script: as it stands, or made of the one text.
func (c *Case) steps(mode Mode) ([]Step, error) {
	if c.Input.Type == "script" {
		return c.Input.Steps, nil
	}
	if c.Input.Type != "sql" {
		return nil, fmt.Errorf("input type %q is not known", c.Input.Type)
	}
	if mode == Extended {
		return []Step{{Op: "P", Text: c.Input.Text}, {Op: "B"}, {Op: "D", Kind: "P"}, {Op: "E"}, {Op: "S"}, {Op: "wait"}}, nil
	}
	return []Step{{Op: "Q", Text: c.Input.Text}, {Op: "wait"}}, nil
}

// values reads the parameters of a step: text, {"hex": …} or null.
func values(raw json.RawMessage) ([][]byte, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var list []any
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	return encode(list)
}

func encode(list []any) ([][]byte, error) {
	var out [][]byte
	for _, v := range list {
		switch v := v.(type) {
		case nil:
			out = append(out, nil)
		case string:
			out = append(out, append([]byte{}, v...))
		case map[string]any:
			b, err := hex.DecodeString(fmt.Sprint(v["hex"]))
			if err != nil {
				return nil, err
			}
			out = append(out, append([]byte{}, b...))
		default:
			return nil, fmt.Errorf("parameter %v is neither text, hex nor null", v)
		}
	}
	return out, nil
}
