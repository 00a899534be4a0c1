package leakcheck

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	const secret = "alice.quimby@secretmail.test"
	var codes, units, octals []string
	for _, c := range []byte(secret) {
		codes = append(codes, fmt.Sprint(c))
		units = append(units, fmt.Sprintf(`\u%04x`, c))
		octals = append(octals, fmt.Sprintf(`\%03o`, c))
	}
	le, _ := utf16Bytes(secret)
	var cells [][]byte
	for _, c := range []byte(secret) {
		cells = append(cells, []byte{c})
	}
	for name, tc := range map[string]struct {
		blob   string
		values [][]byte
	}{
		"plain":      {blob: "x " + secret + " y"},
		"case":       {blob: strings.ToUpper(secret)},
		"separators": {blob: "alice quimby@secretmail test"},
		"split":      {values: cells},
		"reversed":   {blob: string(reverse(normal([]byte(secret))))},
		"shift+1":    {blob: string(shift([]byte(secret)))},
		"rot13":      {blob: string(rot13([]byte(secret)))},
		"codes":      {blob: "{" + strings.Join(codes, ",") + "}"},
		"hex":        {blob: `\x00` + hex.EncodeToString([]byte(secret))},
		"base64":     {blob: base64.StdEncoding.EncodeToString([]byte("xx" + secret + "yyy"))},
		"base32":     {blob: "mfwgsy3ffzyxk2lnmj4ua43fmnzgk5dnmfuwyltumvzxi==="},
		"utf16":      {blob: string(le)},
		"json-u":     {blob: strings.Join(units, "")},
		"url":        {blob: url.QueryEscape(secret)},
		"octal":      {blob: strings.Join(octals, "")},
		"weakhash":   {blob: fmt.Sprintf("%x", digests([]byte(secret))[0])},
	} {
		hits := Find([][]byte{[]byte(tc.blob)}, tc.values, []string{secret, "somebody.else@secretmail.test"})
		if len(hits) != 1 || hits[0].Secret != secret || !slices.Contains(hits[0].Encodings, name) {
			t.Errorf("%s: found %v in %q", name, hits, tc.blob)
		}
	}
	if hits := Find([][]byte{[]byte("a****@s****.test, ***-**-8147, 2024-01-02")}, nil, []string{secret, "536-22-8147"}); hits != nil {
		t.Errorf("masked text shows %v", hits)
	}
}
