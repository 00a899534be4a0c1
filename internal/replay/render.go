package replay

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Clean makes text harmless in a terminal: control characters, escape
// sequences and characters that reverse or hide text are shown as escapes.
// Line feeds and tabs stay.
func Clean(s string) string {
	ok := true
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\n' && c != '\t' || c >= 0x7f {
			ok = false
			break
		}
	}
	if ok {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r == '\n' || r == '\t':
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r > 0x7f && !unicode.IsPrint(r) || unicode.Is(unicode.Other, r):
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
	return b.String()
}

// cleanCell is Clean for one line.
func cleanCell(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\n", `\n`), "\t", `\t`)
	return Clean(s)
}

// Text writes the session as plain text.
func (r *Replay) Text(ctx context.Context, w io.Writer) error {
	return r.Play(ctx, w, 0)
}

// maxPause is the longest that a replay stands still.
const maxPause = 2 * time.Second

// Play writes the session as plain text, with the pauses that it had divided
// by speed; 0 means without any.
func (r *Replay) Play(ctx context.Context, w io.Writer, speed float64) error {
	out := bufio.NewWriter(w)
	if _, err := out.WriteString(r.title()); err != nil {
		return err
	}
	last := 0.0
	_, _, err := r.each(ctx, Limit{}, func(e Entry) error {
		if speed > 0 && e.AtMS > last {
			if err := out.Flush(); err != nil {
				return err
			}
			pause := min(time.Duration((e.AtMS-last)/speed*float64(time.Millisecond)), maxPause)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		last = max(last, e.AtMS)
		_, err := out.WriteString(e.String())
		return err
	})
	if e := out.Flush(); err == nil {
		err = e
	}
	return err
}

func (r *Replay) title() string {
	h := r.header
	return Clean(fmt.Sprintf("session %s: %s on %s (%s), %s\n\n", h.Session, h.Identity, h.Target, h.Protocol, h.Started.UTC().Format(time.RFC3339)))
}

// String renders the entry as text that is harmless in a terminal, with a
// line feed at the end.
func (e Entry) String() string {
	var b strings.Builder
	// What others wrote may have several lines. None of them may look like a
	// line of the replay's own, so each further one says what it is.
	line := func(format string, args ...any) {
		b.WriteString(strings.ReplaceAll(Clean(fmt.Sprintf(format, args...)), "\n", "\n    | ") + "\n")
	}
	lines := func(text string) {
		b.WriteString("    | " + strings.ReplaceAll(Clean(strings.TrimRight(text, "\n")), "\n", "\n    | ") + "\n")
	}
	switch e.Kind {
	case KindRequest:
		line("%s #%d> %s", stamp(e.AtMS), e.Request, e.Statement)
		for i, p := range e.Params {
			line("    $%d = %s", i+1, p)
		}
		if e.Decision != "" {
			line("    [%s%s%s%s]", e.Decision, part(", rule ", e.Rule), part(": ", e.Reason), review(e.Review))
		}
		if len(e.Masked) > 0 {
			line("    [masked: %s]", strings.Join(e.Masked, ", "))
		}
	case KindReply:
		e.grid(&b)
		if e.Error != "" {
			line("    %s", e.Error)
		}
		if e.Text != "" {
			lines(e.Text)
		}
	case KindNote:
		line("    -- %s", e.Text)
	case KindOutcome:
		if e.Error != "" {
			line("%s #%d failed after %.1f ms: %s", stamp(e.AtMS), e.Request, e.TookMS, e.Error)
		} else {
			line("%s #%d done, %d rows, %.1f ms", stamp(e.AtMS), e.Request, e.RowCount, e.TookMS)
		}
	case KindCut:
		line("    [not recorded: %s]", e.Text)
	case KindInput:
		lines(e.Text)
	}
	if e.Truncated {
		line("    [more is not shown]")
	}
	if e.Error != "" && e.Kind != KindReply && e.Kind != KindOutcome {
		line("    %s", e.Error)
	}
	return b.String()
}

func stamp(ms float64) string {
	d := time.Duration(ms * float64(time.Millisecond))
	return fmt.Sprintf("[%02d:%02d:%02d.%03d]", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60, d.Milliseconds()%1000)
}

func part(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

func review(id int64) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf(", review %d", id)
}

const maxWidth = 40 // of a column in text

// grid writes rows as a table.
func (e Entry) grid(b *strings.Builder) {
	if len(e.Columns) == 0 && len(e.Rows) == 0 {
		return
	}
	var lines [][]string
	if len(e.Columns) > 0 {
		head := make([]string, len(e.Columns))
		for i, c := range e.Columns {
			head[i] = cell(c)
		}
		lines = append(lines, head)
	}
	for _, row := range e.Rows {
		cells := make([]string, len(row))
		for i, v := range row {
			cells[i] = "NULL"
			if v != nil {
				cells[i] = cell(*v)
			}
		}
		lines = append(lines, cells)
	}
	var widths []int
	for _, cells := range lines {
		for i, c := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for n, cells := range lines {
		var l strings.Builder
		l.WriteString("   ")
		for i, c := range cells {
			fmt.Fprintf(&l, " %s%s", c, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)))
			if i+1 < len(cells) {
				l.WriteString(" |")
			}
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
		if n == 0 && len(e.Columns) > 0 {
			b.WriteString("    ")
			for i, w := range widths {
				if i > 0 {
					b.WriteString("-+-")
				}
				b.WriteString(strings.Repeat("-", w))
			}
			b.WriteString("\n")
		}
	}
}

func cell(s string) string {
	s = cleanCell(s)
	if utf8.RuneCountInString(s) <= maxWidth {
		return s
	}
	n := 0
	for i := range s {
		if n++; n == maxWidth {
			return s[:i] + "…"
		}
	}
	return s
}

// Asciicast writes the session as an asciicast v3 recording.
func (r *Replay) Asciicast(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	type term struct {
		Cols int `json:"cols"`
		Rows int `json:"rows"`
	}
	head := struct {
		Version   int    `json:"version"`
		Term      term   `json:"term"`
		Timestamp int64  `json:"timestamp"`
		Idle      int    `json:"idle_time_limit"`
		Title     string `json:"title"`
	}{3, term{120, 40}, r.header.Started.Unix(), 2, strings.TrimSpace(r.title())}
	if err := enc.Encode(head); err != nil {
		return err
	}
	event := func(after float64, s string) error {
		return enc.Encode([]any{after, "o", strings.ReplaceAll(s, "\n", "\r\n")})
	}
	if err := event(0, r.title()); err != nil {
		return err
	}
	last := 0.0
	_, _, err := r.each(ctx, Limit{}, func(e Entry) error {
		after := max(e.AtMS-last, 0)
		last += after
		return event(float64(int64(after*1000))/1e6, e.String())
	})
	if err == nil {
		// The reader of an asciicast waits for this: the session's end.
		err = enc.Encode([]any{0, "x", "0"})
	}
	if e := out.Flush(); err == nil {
		err = e
	}
	return err
}
