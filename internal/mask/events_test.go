package mask

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// runEvents masks a stream in pieces of a size.
func runEvents(s *Set, in []byte, size int) (out []byte, e *Events, err error) {
	e = s.Events("shop", "GET /stream")
	for len(in) > 0 {
		n := min(len(in), size)
		if out, err = e.Write(out, in[:n]); err != nil {
			return out, e, err
		}
		in = in[n:]
	}
	out, err = e.Close(out)
	return out, e, err
}

func TestEvents(t *testing.T) {
	detects := Rule{Detect: []string{"EMAIL", "CREDIT_CARD", "SECRET"}, Operator: "redact"}
	detect := mustCompile(t, detects)
	fields := mustCompile(t, Rule{Fields: []string{"$.a", "$..ssn"}, Operator: "redact"})
	both := mustCompile(t, Rule{Fields: []string{"$.a", "GET /other: $.b"}, Operator: "partial"}, detects)
	for _, c := range []struct {
		set      *Set
		in, want string
		rows     int64
	}{
		{detect, "", "", 0}, {detect, "\n\n", "\n\n", 0},
		{detect, "data: {\"a\":\"ada@corp.example\"}\n\n", "data: {\"a\":\"[EMAIL]\"}\n\n", 1},
		{detect, "data:{\"a\":\ndata: \"\\u0061da@corp.example\"}\r\n\r\ndata: x\r\rdata\n\n", "data: {\"a\":\ndata: \"[EMAIL]\"}\n\ndata: x\n\ndata: \n\n", 3},
		{detect, "\ufeffdata: {\"a\":\"\\u0061da@corp.example\"}\n\n", "data: {\"a\":\"[EMAIL]\"}\n\n", 1},
		{detect, ": mail ada@corp.example\nevent: ada@corp.example\nid: 1\nx: YWRhQGNvcnAuZXhhbXBsZQ==\nada@corp.example\n\n", ": mail [EMAIL]\nevent: [EMAIL]\nid: 1\nx: W0VNQUlMXQ==\n[EMAIL]\n\n", 0},
		{detect, "data: token ada@corp.example\ndata: and more\n\ndata: [DONE]\n\n", "data: token [EMAIL]\ndata: and more\n\ndata: [DONE]\n\n", 2},
		{detect, "data: 4111 1111 1111 1111\n\ndata: 4111111111111111\n\n", "data: [CREDIT_CARD]\n\ndata: 0\n\n", 2},
		{detect, "data: {\"a\":\"\\u0061da@corp.example\"\n\n", "data: [redacted]\n\n", 1},
		{detect, "data: {\"a\":1}\ndata: {\"b\":\"\\u0061da@corp.example\"}\n\n", "data: {\"a\":1}\ndata: {\"b\":\"[EMAIL]\"}\n\n", 1},
		{detect, "data: -----BEGIN PRIVATE KEY-----\ndata: MIIEvQIBADANBgkq\ndata: -----END PRIVATE KEY-----\n\n", "data: [SECRET]\n\n", 1},
		{detect, "data: \"\xff\\u0061da@corp.example\"\n\n", "data: [redacted]\n\n", 1},
		{detect, "data: ada@corp.example", "data: [EMAIL]\n", 1},
		{detect, "event: a\ndata: 1", "event: a\ndata: 1\n", 1},
		{mustCompile(t), ": x\ndata: {\ndata: }\n\n", ": x\ndata: {\ndata: }\n\n", 1},
		{fields, "id: 7-a\nevent: up.date\nretry: 10\ndata: {\"a\":\"x\",\"b\":[{\"ss\\u006e\":1}]}\n\n", "id: 7-a\nevent: up.date\nretry: 10\ndata: {\"a\":\"[redacted]\",\"b\":[{\"ss\\u006e\":0}]}\n\n", 1},
		{fields, ": text\nid: it is\nevent:\nx: y\ndata: text\n\ndata: [DONE]\n\ndata: [DONE] x\n\ndata:{\"a\":1}\ndata:{\"a\":1}\n\n", ":\nid: [redacted]\nevent:\ndata: [redacted]\n\ndata: [DONE]\n\ndata: [redacted]\n\ndata: [redacted]\n\n", 4},
		{fields, "data: {\"a\":\"x\"", "data: [redacted]\n", 1},
		{both, "id: 4111111111111111\ndata: {\"a\":\"see ada@corp.example\",\"b\":\"ada@corp.example\"}\n\ndata: ada@corp.example\n\n", "id: [CREDIT_CARD]\ndata: {\"a\":\"[EMAIL]\",\"b\":\"[EMAIL]\"}\n\ndata: [redacted]\n\n", 2},
	} {
		for size := 1; size <= len(c.in)+1; size++ {
			out, e, err := runEvents(c.set, []byte(c.in), size)
			if err != nil || string(out) != c.want || e.Rows() != c.rows || e.Held() != 0 {
				t.Errorf("in pieces of %d: %q\ngave %q, %d rows\nwant %q, %d: %v", size, c.in, out, e.Rows(), c.want, c.rows, err)
				break
			}
		}
	}
	_, e, _ := runEvents(both, []byte("data: {\"b\":1}\n\ndata: {\"a\":2}\n\ndata: {}\n\n"), 5)
	if got := fmt.Sprint(e.Masked()); got != "[$.a]" {
		t.Error(got)
	}
}

// TestEventsWhole sends an event when it is whole, and not before.
func TestEventsWhole(t *testing.T) {
	e := objectsSet(t).Events("shop", "")
	out, err := e.Write(nil, []byte("data: 1\n"))
	if err != nil || len(out) > 0 || e.Held() == 0 {
		t.Error(string(out), err)
	}
	if out, err = e.Write(nil, []byte("\ndata: 2")); err != nil || string(out) != "data: 1\n\n" {
		t.Error(string(out), err)
	}
}

// TestEventsBound refuses an event that is too large, however it comes.
func TestEventsBound(t *testing.T) {
	for _, set := range []*Set{mustCompile(t), objectsSet(t)} {
		for _, in := range []string{
			strings.Repeat("x", MaxEvent+1), "data: " + strings.Repeat("x", MaxEvent), strings.Repeat("data\n", MaxEvent/5+1), strings.Repeat(":\r\n", MaxEvent/2+1),
		} {
			for _, size := range []int{1, 4096, 1 << 30} {
				out, e, err := runEvents(set, []byte("data: 1\n\n"+in), size)
				if !errors.Is(err, ErrObjects) || len(out) > 9 {
					t.Errorf("%.20q in pieces of %d: %d bytes came out: %v", in, size, len(out), err)
				}
				if _, err := e.Write(nil, []byte("\n\n")); err == nil {
					t.Error("it went on after an error")
				}
				if _, err := e.Close(nil); err == nil {
					t.Error("it was closed after an error")
				}
			}
		}
		most := "data: " + strings.Repeat("x", MaxEvent-8) + "\n\n"
		for _, size := range []int{1, 4096, 1 << 30} {
			if out, _, err := runEvents(set, []byte(strings.Repeat(most, 2)), size); err != nil || len(out) != 2*len(most) {
				t.Errorf("the largest event is refused: %v", err)
			}
		}
	}
}

func TestEventsDoNotAllocate(t *testing.T) {
	if raced {
		t.Skip("counted without the race detector")
	}
	set := mustCompile(t, Rule{Fields: []string{"$..text"}, Operator: "redact"}, Rule{Detect: Types(), Operator: "redact"})
	e := set.Events("shop", "")
	in := []byte("event: delta\ndata: {\"choices\":[{\"text\":\"hello\",\"to\":\"ada@corp.example\"}]}\n\n")
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(50, func() {
		if _, err := e.Write(dst, in); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// readEvents gives the data of the events, as a client reads it.
func readEvents(in []byte) (data []string) {
	text := strings.ReplaceAll(strings.ReplaceAll(strings.TrimPrefix(string(in), "\ufeff"), "\r\n", "\n"), "\r", "\n")
	for event := range strings.SplitSeq(text, "\n\n") {
		var lines []string
		for line := range strings.SplitSeq(event, "\n") {
			if line == "data" {
				lines = append(lines, "")
			} else if rest, ok := strings.CutPrefix(line, "data:"); ok {
				lines = append(lines, strings.TrimPrefix(rest, " "))
			}
		}
		if lines != nil {
			data = append(data, strings.Join(lines, "\n"))
		}
	}
	return data
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte("data: {\"ssn\":1}\r\n\r\n: x\nid: 1\rdata\ndata:a\n\n"), uint8(2))
	f.Add([]byte("\ufeffdata:{\ndata:}\n\n\n\ndata: [DONE]"), uint8(0))
	sets := []*Set{objectsSet(f), fieldSet(f), mustCompile(f)}
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		for i, set := range sets {
			whole, e, err := runEvents(set, in, len(in)+1)
			out, again, err2 := runEvents(set, in, int(size)+1)
			if (err == nil) != (err2 == nil) || err == nil && (!bytes.Equal(out, whole) || e.Rows() != again.Rows()) {
				t.Fatalf("in pieces of %d: %v, %v\n%q\n%q\n%q", size, err, err2, in, whole, out)
			}
			if err != nil {
				continue
			}
			was, got := readEvents(in), readEvents(whole)
			if len(was) != len(got) {
				t.Fatalf("%d events became %d: %q\n%q", len(was), len(got), in, whole)
			}
			for k := range was {
				if i == 2 && was[k] != got[k] {
					t.Fatalf("%q became %q without a rule", was[k], got[k])
				}
				if json.Valid([]byte(was[k])) && !json.Valid([]byte(got[k])) && got[k] != redactedText {
					t.Fatalf("%q became %q", was[k], got[k])
				}
			}
			planted := append([]byte("data: {\"s\\u0073n\":\"planted-7d1\",\ndata:\"a\":\"planted@seven.example\"}\n\n"), in...)
			planted = append(planted, "\n\ndata:planted@seven.example\ndata: x\n\n"...)
			out, _, err = runEvents(sets[1], planted, int(size)+1)
			if err == nil && bytes.Contains(out, []byte("planted")) && !bytes.Contains(in, []byte("planted")) {
				t.Fatalf("it came out: %q", out)
			}
		}
	})
}
