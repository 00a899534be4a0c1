package http

import (
	"strings"
	"testing"
)

// TestDereference has references cut at every place: the text that comes out is
// the same.
func TestDereference(t *testing.T) {
	for in, want := range map[string]string{
		"alice&#64;corp.example":                      "alice@corp.example",
		"alice&#x40;corp&#x2E;example":                "alice@corp.example",
		"alice&#X40;corp&period;example &commat; end": "alice@corp.example @ end",
		"&lt;a&gt; &amp;#64; &#60; &#38; &#34;":       "&lt;a&gt; &amp;#64; &#60; &#38; &#34;",
		"a & b && c &; &#; &#x; &#xx40; &#640;":       "a & b && c &; &#; &#x; &#xx40; &#640;",
		"ends with &#6":                               "ends with &#6",
		"&" + strings.Repeat("a", 40) + ";&#64;":      "&" + strings.Repeat("a", 40) + ";@",
	} {
		for size := 1; size <= len(in); size++ {
			var out, held []byte
			for rest := in; rest != ""; rest = rest[min(size, len(rest)):] {
				piece := append(append([]byte(nil), held...), rest[:min(size, len(rest))]...)
				out, held = dereference(out, piece, nil)
			}
			if got := string(append(out, held...)); got != want {
				t.Fatalf("%q in pieces of %d: %q, want %q", in, size, got, want)
			}
		}
	}
}

// TestReadable has the encodings in which nothing would be found.
func TestReadable(t *testing.T) {
	for kind, want := range map[string]bool{
		"text/plain": true, "text/html; charset=UTF-8": true, `text/csv; charset="iso-8859-1"`: true, "text/plain; charset=us-ascii": true,
		"text/plain; charset=utf-16": false, "text/plain; charset=utf-16le": false, "text/plain; charset=utf-7": false, "text/html; charset=ibm037": false, "text/plain; charset==utf-7": false,
	} {
		if got := readable(kind); got != want {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
	}
}
