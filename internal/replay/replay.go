package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/doorward/doorward"
	"github.com/doorward/doorward/internal/tape"
)

// Limit bounds what a timeline holds. Zero fields mean the defaults.
type Limit struct {
	Entries int // 10,000
	Rows    int // of one entry: 200
	Cell    int // bytes of one value: 4 KiB
	Bytes   int // of all values and texts: 16 MiB
}

func (l Limit) orDefaults() Limit {
	set := func(p *int, n int) {
		if *p <= 0 {
			*p = n
		}
	}
	set(&l.Entries, 10000)
	set(&l.Rows, 200)
	set(&l.Cell, 4<<10)
	set(&l.Bytes, 16<<20)
	return l
}

// Timeline is a session for people.
type Timeline struct {
	Header    doorward.Header `json:"header"`
	Entries   []Entry         `json:"entries"`
	Verified  Verified        `json:"verified"`
	Truncated bool            `json:"truncated"` // entries were left out: ask for less, or export
	Live      bool            `json:"live"`      // the tape has no end: the session runs, or the server was killed
	Seal      *doorward.Seal  `json:"seal,omitempty"`
}

// Verified says whether the tape's own chain holds. That it is the tape which
// the ledger sealed, the ledger's Verify says.
type Verified struct {
	OK       bool     `json:"ok"`
	Problems []string `json:"problems"`
}

// The kinds of entries.
const (
	KindRequest = "request"
	KindReply   = "reply"
	KindNote    = "note"
	KindOutcome = "outcome"
	KindCut     = "cut"
	KindInput   = "input"
	KindResize  = "resize" // of the terminal of an SSH session; Size is set
)

// The streams of an SSH session's replies. Messages are doorward's own: the
// target cannot write one.
const (
	StreamOutput  = "stdout"
	StreamErrors  = "stderr"
	StreamMessage = "message"
)

// Entry is one line of a timeline.
type Entry struct {
	AtMS      float64     `json:"at_ms"` // since the session's start
	Request   uint64      `json:"request"`
	Kind      string      `json:"kind"`
	Statement string      `json:"statement,omitempty"`
	Params    []string    `json:"params,omitempty"`
	Decision  string      `json:"decision,omitempty"`
	Rule      string      `json:"rule,omitempty"`
	Reason    string      `json:"reason,omitempty"`
	Review    int64       `json:"review,omitempty"`
	Masked    []string    `json:"masked,omitempty"`
	Columns   []string    `json:"columns"`
	Rows      [][]*string `json:"rows"` // null is NULL
	Truncated bool        `json:"truncated,omitempty"`
	Text      string      `json:"text,omitempty"`
	Error     string      `json:"error,omitempty"`
	RowCount  int64       `json:"row_count,omitempty"`
	TookMS    float64     `json:"took_ms,omitempty"`

	// Of SSH sessions. A reply is a burst of output: Text has its bytes as they
	// are, Screen what of them a terminal may draw (see [Filter]), where that is
	// not the same.
	Stream  string  `json:"stream,omitempty"`  // of a reply
	Screen  *string `json:"screen,omitempty"`  // of a reply; nil: Text
	Dropped int64   `json:"dropped,omitempty"` // bytes of command strings that Screen leaves out
	Size    string  `json:"size,omitempty"`    // of a request with a terminal and of a resize: COLUMNSxROWS
}

// Replay is a tape to be shown.
type Replay struct {
	path   string
	header doorward.Header
}

// ErrNotFound says that there is no tape of that session.
var ErrNotFound = errors.New("there is no recording of this session")

var dayParts = [...]*regexp.Regexp{regexp.MustCompile(`^\d{4}$`), regexp.MustCompile(`^\d{2}$`), regexp.MustCompile(`^\d{2}$`)}

// Open finds the tape of a session in the folder of the recordings.
func Open(dir, session string) (*Replay, error) {
	if !tape.ValidSession(session) {
		return nil, fmt.Errorf("%w: %.80q is not the id of a session", ErrNotFound, session)
	}
	path, err := find(dir, session, 0)
	if err != nil {
		return nil, err
	}
	r, err := OpenFile(path)
	if err == nil && r.header.Session != session {
		return nil, fmt.Errorf("%s: %w: it is the recording of session %.80q", path, tape.ErrDamaged, r.header.Session)
	}
	return r, err
}

// OpenFile opens one tape file.
func OpenFile(path string) (*Replay, error) {
	r, err := tape.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return &Replay{path, r.Header()}, nil
}

// find looks through the days, the newest first.
func find(dir, session string, depth int) (string, error) {
	if depth == len(dayParts) {
		path := filepath.Join(dir, session+".tape")
		_, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return "", ErrNotFound
		}
		return path, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("looking for a recording: %w", err)
	}
	for _, e := range slices.Backward(entries) {
		if !e.IsDir() || !dayParts[depth].MatchString(e.Name()) {
			continue
		}
		path, err := find(filepath.Join(dir, e.Name()), session, depth+1)
		if !errors.Is(err, ErrNotFound) {
			return path, err
		}
	}
	return "", ErrNotFound
}

// Header is the tape's header.
func (r *Replay) Header() doorward.Header { return r.header }

// Path is the tape's file.
func (r *Replay) Path() string { return r.path }

// Timeline reads the whole tape, checks its chain, and keeps what limit lets.
// A damaged tape gives the entries before the damage and says so in Verified.
func (r *Replay) Timeline(ctx context.Context, limit ...Limit) (*Timeline, error) {
	var l Limit
	if len(limit) > 0 {
		l = limit[0]
	}
	l = l.orDefaults()
	t := &Timeline{Header: r.header, Entries: []Entry{}, Verified: Verified{OK: true, Problems: []string{}}}
	left := l.Bytes
	sealed, seal, err := r.each(ctx, l, func(e Entry) error {
		if t.Truncated {
			return nil
		}
		left -= e.size()
		if len(t.Entries) >= l.Entries || left < 0 {
			t.Truncated = true
			return nil
		}
		t.Entries = append(t.Entries, e)
		return nil
	})
	if errors.Is(err, tape.ErrDamaged) {
		t.Verified = Verified{false, []string{err.Error()}}
	} else if err != nil {
		return nil, err
	}
	if sealed {
		t.Seal = &seal
	} else {
		t.Live = t.Verified.OK
	}
	return t, nil
}

func (e *Entry) size() int {
	n := 64 + len(e.Statement) + len(e.Text) + len(e.Error) + len(e.Reason)
	if e.Screen != nil {
		n += len(*e.Screen)
	}
	for _, list := range [][]string{e.Params, e.Masked, e.Columns} {
		for _, s := range list {
			n += 16 + len(s)
		}
	}
	for _, row := range e.Rows {
		for _, v := range row {
			n += 24
			if v != nil {
				n += len(*v)
			}
		}
	}
	return n
}

// each calls fn with every entry. An error of fn ends it.
func (r *Replay) each(ctx context.Context, l Limit, fn func(Entry) error) (sealed bool, seal doorward.Seal, err error) {
	d := &decoder{limit: l.orDefaults(), started: r.header.Started, protocol: r.header.Protocol, emit: fn, shapes: map[string][]field{}}
	sealed, seal, err = r.frames(ctx, d.frame)
	if err == nil || errors.Is(err, tape.ErrDamaged) { // what came before is shown
		if e := d.finish(); e != nil {
			err = e
		}
	}
	return sealed, seal, err
}

// frames calls fn with every frame of the tape, whose data is good until fn
// returns. An error of fn ends it.
func (r *Replay) frames(ctx context.Context, fn func(doorward.Frame) error) (sealed bool, seal doorward.Seal, err error) {
	src, err := tape.OpenFile(r.path)
	if err != nil {
		return false, seal, err
	}
	defer src.Close()
	for {
		if err := ctx.Err(); err != nil {
			return false, seal, err
		}
		f, err := src.Next()
		if err == io.EOF {
			return src.Sealed(), src.Seal(), nil
		}
		if err != nil {
			return src.Sealed(), src.Seal(), err
		}
		if err := fn(f); err != nil {
			return false, seal, err
		}
	}
}

// JSON writes the timeline as JSON.
func (r *Replay) JSON(ctx context.Context, w io.Writer) error {
	t, err := r.Timeline(ctx)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(t)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
