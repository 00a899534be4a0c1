package http

import (
	"strings"
	"testing"
)

func FuzzRequests(f *testing.F) {
	for _, c := range accepted {
		if len(c.in) < 1000 {
			f.Add([]byte(c.in))
		}
	}
	for _, c := range refused {
		if len(c.in) < 1000 {
			f.Add([]byte(c.in))
		}
	}
	f.Add([]byte(typicalRequest))
	f.Fuzz(func(t *testing.T, b []byte) {
		checkRequests(t, b, Limits{})
		checkRequests(t, b, tight)
	})
}

func FuzzAnswers(f *testing.F) {
	for _, c := range acceptedAnswers {
		if len(c.in) < 1000 {
			f.Add([]byte(c.in), c.method == "HEAD")
		}
	}
	for _, c := range refusedAnswers {
		if len(c.in) < 1000 {
			f.Add([]byte(c.in), false)
		}
	}
	f.Add([]byte(typicalAnswer), false)
	f.Add([]byte(okChunks(strings.Repeat("1;x\r\ny\r\n", 9)+"0\r\nX: y\r\n\r\n")), false)
	f.Fuzz(func(t *testing.T, b []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		checkAnswers(t, b, Limits{}, method)
		checkAnswers(t, b, tight, method)
	})
}
