package replay

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

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
	lines := func(mark, text string) {
		b.WriteString(mark + strings.ReplaceAll(Clean(strings.TrimRight(text, "\r\n")), "\n", "\n"+mark) + "\n")
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
		if e.Stream != "" {
			e.burst(&b)
			break
		}
		e.grid(&b)
		if e.Error != "" {
			line("    %s", e.Error)
		}
		if e.Text != "" {
			lines("    | ", e.Text)
		}
	case KindNote:
		line("    -- %s", e.Text)
	case KindOutcome:
		if e.Error != "" {
			line("%s #%d failed after %.1f ms: %s%s", stamp(e.AtMS), e.Request, e.TookMS, e.Error, part(", ", e.Text))
		} else if e.Text != "" {
			line("%s #%d done, %s, %.1f ms", stamp(e.AtMS), e.Request, e.Text, e.TookMS)
		} else {
			line("%s #%d done, %d rows, %.1f ms", stamp(e.AtMS), e.Request, e.RowCount, e.TookMS)
		}
	case KindCut:
		line("    [not recorded: %s]", e.Text)
	case KindInput:
		lines("    < ", e.Text)
	case KindResize:
		line("    [the terminal is now %s]", e.Size)
	}
	if e.Truncated {
		line("    [more is not shown]")
	}
	if e.Error != "" && e.Kind != KindReply && e.Kind != KindOutcome {
		line("    %s", e.Error)
	}
	return b.String()
}

// streamMarks stand before each line of an SSH session's output.
var streamMarks = map[string]string{StreamOutput: "    | ", StreamErrors: "    ! ", StreamMessage: "    -- "}

// burst writes output of an SSH session, without what moved or coloured it.
func (e Entry) burst(b *strings.Builder) {
	mark := streamMarks[e.Stream]
	if text := strings.TrimRight(e.Plain(), "\n"); text != "" {
		b.WriteString(mark + strings.ReplaceAll(text, "\n", "\n"+mark) + "\n")
	}
	if e.Dropped > 0 {
		fmt.Fprintf(b, "    [%d bytes of commands to the terminal are not shown]\n", e.Dropped)
	}
}

// Plain is the entry's text, harmless in a terminal, and of what a terminal
// program drew the text alone.
func (e Entry) Plain() string {
	if e.Screen != nil {
		return Plain(*e.Screen)
	}
	if e.Stream != "" {
		return Plain(e.Text)
	}
	return Clean(e.Text)
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
