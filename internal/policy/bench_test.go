package policy

import (
	"fmt"
	"testing"

	"github.com/doorward/doorward"
)

// fifty rules, of which each request meets the three standard ones and those
// for everybody.
func fifty(b *testing.B, when string) *Policy {
	rules := standard()
	for i := len(rules); i < 50; i++ {
		r := Rule{Name: fmt.Sprintf("team-%02d", i), Targets: all, When: when, Then: "deny"}
		if i%2 == 0 {
			r.Who.Groups = []string{fmt.Sprintf("team-%d", i)}
		}
		rules = append(rules, r)
	}
	return compile(b, rules...)
}

func benchmarkDecide(b *testing.B, when string) {
	p := fifty(b, when)
	in := Input{Identity: codex, Target: "orders-db", Protocol: "postgres", Effect: read("public.orders"), Now: now}
	if d := p.Decide(in); d.Outcome != doorward.Allow {
		b.Fatal(d)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Decide(in)
	}
}

func BenchmarkDecideFast(b *testing.B) {
	benchmarkDecide(b, "effect.unbounded && 'delete' in effect.verbs")
}
func BenchmarkDecideGuarded(b *testing.B) {
	benchmarkDecide(b, "effect.writes && effect.objects.exists(o, glob(o.name, 'public.*'))")
}
func BenchmarkDecideCEL(b *testing.B) {
	benchmarkDecide(b, "effect.objects.exists(o, o.name == 'internal.secrets')")
}
func BenchmarkDecideTwoRules(b *testing.B) {
	p := compile(b, standard()...)
	in := Input{Identity: codex, Target: "orders-db", Protocol: "postgres", Effect: read("public.orders"), Now: now}
	b.ReportAllocs()
	for b.Loop() {
		p.Decide(in)
	}
}
