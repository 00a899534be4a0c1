package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/doorward/doorward/internal/mask"
)

// MaskCmd groups the commands about masking.
type MaskCmd struct {
	Eval MaskEvalCmd `cmd:"" help:"Show what value detection finds in texts."`
}

// MaskEvalCmd finds values in texts, one JSON object a line.
type MaskEvalCmd struct {
	Types string `help:"Only these types, separated by commas." placeholder:"TYPE,..." default:""`
}

// maxEvalLine bounds one line of input.
const maxEvalLine = 64 << 20

// Help is shown by --help.
func (*MaskEvalCmd) Help() string {
	return `Reads JSON lines from standard input and prints one JSON line for each, in the
same order: the places where detection finds a value, as byte offsets into the
UTF-8 form of the text. Needs no server and no configuration.

  {"text": "...", "column": "..."}   column is optional: the name of the column
                                     that the text is a value of
  {"spans": [{"start": 0, "end": 3, "type": "EMAIL"}]}

Types: ` + strings.Join(mask.Types(), ", ") + `

Example:
  echo '{"text": "mail ada@corp.example"}' | doorward mask eval`
}

// Run reads to the end of the input.
func (c *MaskEvalCmd) Run(env *Env) error {
	wanted, err := wantedTypes(c.Types)
	if err != nil {
		return err
	}
	in := bufio.NewReaderSize(env.Stdin, 64<<10)
	out := bufio.NewWriterSize(env.Stdout, 64<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	var spans []mask.Span
	for n := 1; ; n++ {
		line, err := readEvalLine(in, maxEvalLine)
		if err != nil && !errors.Is(err, io.EOF) {
			out.Flush()
			return exitf(CodeError, "line %d: %w", n, err)
		}
		if len(strings.TrimSpace(string(line))) > 0 {
			var q struct {
				Text   *string `json:"text"`
				Column string  `json:"column"`
			}
			if jerr := json.Unmarshal(line, &q); jerr != nil {
				out.Flush()
				return exitf(CodeUsage, `line %d is not a JSON object with a "text": %w`, n, jerr)
			}
			if q.Text == nil {
				out.Flush()
				return exitf(CodeUsage, `line %d has no "text": write {"text": "..."}`, n)
			}
			spans = mask.DetectColumn(spans[:0], []byte(*q.Text), q.Column)
			if werr := enc.Encode(evalAnswer{keepTypes(spans, wanted)}); werr != nil {
				return exitf(CodeError, "write the answer: %w", werr)
			}
		}
		if in.Buffered() == 0 || err != nil {
			if werr := out.Flush(); werr != nil {
				return exitf(CodeError, "write the answer: %w", werr)
			}
		}
		if err != nil {
			return nil
		}
	}
}

type evalAnswer struct {
	Spans []mask.Span `json:"spans"`
}

// wantedTypes reads a list of types; nil means all.
func wantedTypes(list string) (map[string]bool, error) {
	if list == "" {
		return nil, nil
	}
	known := map[string]bool{}
	for _, t := range mask.Types() {
		known[t] = true
	}
	wanted := map[string]bool{}
	for _, t := range strings.Split(list, ",") {
		t = strings.ToUpper(strings.TrimSpace(t))
		if !known[t] {
			return nil, exitf(CodeUsage, "type %q is not known: use some of %s", t, strings.Join(mask.Types(), ", "))
		}
		wanted[t] = true
	}
	return wanted, nil
}

func keepTypes(spans []mask.Span, wanted map[string]bool) []mask.Span {
	out := make([]mask.Span, 0, len(spans))
	for _, s := range spans {
		if wanted == nil || wanted[s.Type] {
			out = append(out, s)
		}
	}
	return out
}

// readEvalLine reads one line without its end, at most limit bytes of it. The last
// line comes with io.EOF.
func readEvalLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, errors.New("the line is too long: at most 64 MiB")
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err == nil {
			line = line[:len(line)-1]
		}
		return line, err
	}
}
