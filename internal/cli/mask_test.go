package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestMaskEval(t *testing.T) {
	for _, c := range []struct{ name, types, in, out, fails string }{
		{"spans in bytes, same order", "", `{"text":"é ada@corp.example"}` + "\n" + `{"text":"nothing"}` + "\n\n" + `{"text":"536228147","column":"ssn"}`,
			`{"spans":[{"start":3,"end":19,"type":"EMAIL"}]}` + "\n" + `{"spans":[]}` + "\n" + `{"spans":[{"start":0,"end":9,"type":"US_SSN"}]}` + "\n", ""},
		{"some types", "ip, email", `{"text":"ada@corp.example 536-22-8147"}`, `{"spans":[{"start":0,"end":16,"type":"EMAIL"}]}` + "\n", ""},
		{"empty input", "", "", "", ""},
		{"not JSON", "", `{"text":"a"}` + "\nhello\n", `{"spans":[]}` + "\n", "line 2"},
		{"no text", "", `{"texts":"a"}`, "", `no "text"`},
		{"unknown type", "SHOE", `{"text":"a"}`, "", `"SHOE" is not known`},
	} {
		var out bytes.Buffer
		err := (&MaskEvalCmd{Types: c.types}).Run(&Env{Stdin: strings.NewReader(c.in), Stdout: &out})
		if out.String() != c.out {
			t.Errorf("%s:\n got %s\nwant %s", c.name, out.String(), c.out)
		}
		if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: %v", c.name, err)
		}
		var exit *Exit
		if err != nil && (!errors.As(err, &exit) || exit.Code != CodeUsage) {
			t.Errorf("%s: exit code of %v", c.name, err)
		}
	}
}
