package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doorward/doorward"
)

// atoms are conditions that a generated condition is made of: some are fast,
// some need CEL, some err for some effects.
var atoms = []string{
	"true", "false", "effect.read_only", "effect.writes", "effect.unbounded", "effect.mass_read", "effect.rbac", "effect.secret", "effect.delete_collection", "effect.scale_to_zero", "effect.multi_statement", "effect.irreversible",
	"effect.masked", "effect.leaves", "effect.locks", "effect.complete", "effect.bound <= 100", "effect.bound == 0", "effect.bound >= 0", "effect.bound > 3", "effect.bound != 7", "effect.bound < 5",
	"'read' in effect.verbs", "'delete' in effect.verbs", "'define' in effect.verbs", "'nonsense' in effect.verbs", "'SELECT' in effect.kinds", "effect.refuse == ''", "'' == effect.refuse",
	"identity.person", "identity.workload", "identity.agent == 'codex'", "'engineers' in identity.groups", "identity.name != 'ada'", "identity.provider == 'corp'", "identity.subject == ''", "identity.run == 'r1'",
	"target.name == 'orders-db'", "target.protocol == 'postgres'", "time.hour < 12", "time.hour >= 15", "time.weekday == 'sunday'",
	"effect.objects.exists(o, o.kind == 'table')", "effect.objects.all(o, glob(o.name, 'public.*'))", "effect.verbs.all(v, v in ['read', 'session'])",
	"10 / effect.bound > 2", "effect.objects[0].name == 'public.a'", "'public.a.x' in effect.masked_columns",
}

func genWhen(t *rapid.T, depth int) string {
	if depth == 0 || rapid.IntRange(0, 2).Draw(t, "leaf") == 0 {
		return rapid.SampledFrom(atoms).Draw(t, "atom")
	}
	switch rapid.IntRange(0, 2).Draw(t, "op") {
	case 0:
		return "(" + genWhen(t, depth-1) + " && " + genWhen(t, depth-1) + ")"
	case 1:
		return "(" + genWhen(t, depth-1) + " || " + genWhen(t, depth-1) + ")"
	}
	return "!(" + genWhen(t, depth-1) + ")"
}

func genEffect(t *rapid.T) *doorward.Effect {
	e := &doorward.Effect{
		Verbs:    doorward.Verb(rapid.IntRange(0, 1<<10-1).Draw(t, "verbs")),
		Traits:   doorward.Trait(rapid.IntRange(0, 1<<16-1).Draw(t, "traits")),
		Kinds:    rapid.SliceOfN(rapid.SampledFrom([]string{"SELECT", "UPDATE", "DROP TABLE"}), 0, 2).Draw(t, "kinds"),
		Complete: rapid.IntRange(0, 3).Draw(t, "complete") > 0,
		Bound:    rapid.Int64Range(-1, 8).Draw(t, "bound"),
		MaskUse:  doorward.MaskUse(rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "mask")),
	}
	if rapid.IntRange(0, 9).Draw(t, "refuse") == 0 {
		e.Refuse = "no"
	}
	if rapid.Bool().Draw(t, "plain read") {
		e.Verbs &= doorward.VerbRead | doorward.VerbSession
	}
	for range rapid.IntRange(0, 3).Draw(t, "objects") {
		e.Objects = append(e.Objects, doorward.Object{
			Kind: rapid.SampledFrom([]string{"table", "function", "setting"}).Draw(t, "kind"),
			Name: rapid.SampledFrom([]string{"public.a", "public.b", "other.a"}).Draw(t, "name"),
			Verb: doorward.VerbRead,
		})
	}
	return e
}

func genIdentity(t *rapid.T) *doorward.Identity {
	id := &doorward.Identity{
		Name:     rapid.SampledFrom([]string{"ada", "bob", "deploy"}).Draw(t, "name"),
		Provider: rapid.SampledFrom([]string{"corp", "ci"}).Draw(t, "provider"),
		Groups:   rapid.SliceOfN(rapid.SampledFrom([]string{"engineers", "dba", "ci"}), 0, 2).Draw(t, "groups"),
		Agent:    rapid.SampledFrom([]string{"", "codex"}).Draw(t, "agent"),
		Workload: rapid.IntRange(0, 4).Draw(t, "workload") == 0,
	}
	id.Subject = id.Provider + ":" + id.Name
	if id.Agent != "" {
		id.Run = "r1"
	}
	return id
}

func genInput(t *rapid.T) Input {
	return Input{
		Identity: genIdentity(t), Effect: genEffect(t), Protocol: "postgres",
		Target: rapid.SampledFrom([]string{"orders-db", "other"}).Draw(t, "target"),
		Now:    time.Unix(rapid.Int64Range(0, 1<<31).Draw(t, "now"), 0),
	}
}

func genRule(t *rapid.T, name string, then ...string) Rule {
	some := func(label string, of ...string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(of), 0, 2, rapid.ID).Draw(t, label)
	}
	r := Rule{
		Name:    name,
		Then:    rapid.SampledFrom(then).Draw(t, "then"),
		Targets: []string{rapid.SampledFrom([]string{"*", "*", "orders-*", "other"}).Draw(t, "targets")},
	}
	if rapid.Bool().Draw(t, "who") {
		r.Who = Who{Users: some("users", "ada", "b*"), Groups: some("groups", "engineers", "dba"), Workloads: some("workloads", "deploy"), Agents: some("agents", "*", "codex")}
	}
	if rapid.Bool().Draw(t, "when") {
		r.When = genWhen(t, 3)
	}
	if rapid.IntRange(0, 3).Draw(t, "list") == 0 {
		r.Objects = some("objects", "public.*", "table:public.a", "other.a")
	}
	if rapid.IntRange(0, 3).Draw(t, "list") == 0 {
		r.Outside = some("outside", "public.*", "table:public.a", "other.a")
	}
	if r.Then != "deny" {
		r.Limits = Limits{Rows: rapid.Int64Range(0, 3).Draw(t, "rows"), Time: time.Duration(rapid.IntRange(0, 3).Draw(t, "time"))}
	}
	if r.Then == "review" {
		r.Reviewers = Reviewers{Groups: []string{rapid.SampledFrom([]string{"dba", "leads"}).Draw(t, "reviewers")}, SelfApproval: rapid.Bool().Draw(t, "self")}
		r.MaxRows = rapid.Int64Range(0, 3).Draw(t, "max rows")
		r.Incomplete = rapid.Bool().Draw(t, "incomplete")
		r.Preview = rapid.Bool().Draw(t, "preview")
	}
	return r
}

func genRules(t *rapid.T) []Rule {
	var rules []Rule
	for i := range rapid.IntRange(0, 6).Draw(t, "rules") {
		rules = append(rules, genRule(t, fmt.Sprintf("r%d", i), "allow", "allow", "review", "deny"))
	}
	return rules
}

func must(t *rapid.T, rules []Rule) *Policy {
	p, err := Compile(Document{Rules: rules})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return p
}

// A denial added anywhere never makes a decision softer, and what is denied
// already stays so.
func TestDenyNeverLoosens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules, in := genRules(t), genInput(t)
		before := must(t, rules).Decide(in)
		denial := genRule(t, rapid.SampledFrom([]string{"a", "r1x", "z"}).Draw(t, "name"), "deny")
		at := rapid.IntRange(0, len(rules)).Draw(t, "at")
		after := must(t, slices.Insert(slices.Clone(rules), at, denial)).Decide(in)
		if after.Outcome < before.Outcome {
			t.Fatalf("a denial made %v of %v", after.Outcome, before.Outcome)
		}
	})
}

// A review added to what runs freely makes it wait; limits only get smaller.
func TestReviewNeverLoosensAllow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules, in := genRules(t), genInput(t)
		before := must(t, rules).Decide(in)
		after := must(t, append(rules, genRule(t, "x", "review"))).Decide(in)
		if before.Outcome == doorward.Allow && after.Outcome < before.Outcome {
			t.Fatal("looser")
		}
		if before.Outcome == after.Outcome && after.Outcome != doorward.Deny && after.Limits != after.Limits.Tighten(before.Limits) {
			t.Fatalf("limits grew from %+v to %+v", before.Limits, after.Limits)
		}
		if before.Outcome == doorward.Hold && after.Outcome == doorward.Hold && len(after.Reviewers) < len(before.Reviewers) {
			t.Fatal("fewer reviewers")
		}
	})
}

// The order of rules changes nothing at all.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules, in := genRules(t), genInput(t)
		a := must(t, rules)
		shuffled := slices.Clone(rules)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		b := must(t, shuffled)
		if diff := cmp.Diff(a.Decide(in), b.Decide(in)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// What is refused, unclear or misuses masked columns never runs freely, and a
// decision is complete.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules, in := genRules(t), genInput(t)
		p := must(t, rules)
		d := p.Decide(in)
		e := in.Effect
		if (e.Refuse != "" || e.MaskUse == doorward.MaskOther) && d.Outcome != doorward.Deny {
			t.Fatalf("refused, yet %v", d.Outcome)
		}
		if !e.Complete && d.Outcome == doorward.Allow {
			t.Fatal("unclear, yet allowed")
		}
		if (d.Outcome == doorward.Hold) != (len(d.Reviewers) > 0) {
			t.Fatalf("%v with reviewers %v", d.Outcome, d.Reviewers)
		}
		if d.Reason == "" || d.Version != p.Version() || (d.Outcome != doorward.Deny && d.Rule == "") {
			t.Fatalf("not complete: %+v", d)
		}
		if diff := cmp.Diff(d, p.Decide(in)); diff != "" {
			t.Fatal("not the same again: " + diff)
		}
		if d.Outcome != doorward.Deny && !p.Reaches(in.Identity, in.Target) {
			t.Fatal("not denied, yet out of reach")
		}
		if d.Outcome != doorward.Deny && !e.ReadOnly() && !p.CouldWrite(in.Identity, in.Target) {
			t.Fatal("may do more than read, yet could not write")
		}
		if p.CouldWrite(in.Identity, in.Target) && !p.CouldAnyoneWrite(in.Target) {
			t.Fatal("could write, yet nobody could")
		}
	})
}

// The quick way of a condition means what CEL means by it, and what is said to
// be certain is.
func TestFastIsCEL(t *testing.T) {
	env, err := environment()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		when, in := genWhen(t, 4), genInput(t)
		c, err := compileCondition(when)
		if err != nil {
			t.Fatal(err)
		}
		tree, issues := env.Compile(when)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		prog, err := env.Program(tree, cel.CostLimit(maxCost))
		if err != nil {
			t.Fatal(err)
		}
		f := &facts{identity: in.Identity, effect: in.Effect, target: in.Target, protocol: in.Protocol, now: in.Now}
		got, gotErr := c.holds(f)
		out, _, wantErr := prog.Eval(newActivation(f))
		if (gotErr != nil) != (wantErr != nil) {
			t.Fatalf("%s: %v, CEL: %v", when, gotErr, wantErr)
		}
		if wantErr != nil {
			return
		}
		if want := out == types.True; got != want {
			t.Fatalf("%s: %v, CEL: %v", when, got, want)
		}
		w := world{identity: in.Identity, target: in.Target}
		if !in.Effect.ReadOnly() {
			w = notReadOnly(in.Identity, in.Target)
		}
		if p := c.possible(w); (p == no && got) || (p == yes && !got) {
			t.Fatalf("%s: said to be %v, is %v", when, p, got)
		}
		for v := doorward.VerbRead; v <= doorward.VerbUnknown; v <<= 1 {
			// The world of reads is that of nothing but reads.
			match := in.Effect.Complete && in.Effect.Refuse == "" && in.Effect.Verbs.Has(v) && in.Effect.Verbs == v && !in.Effect.Traits.Has(doorward.TraitUnbounded)
			if p := c.possible(doing(in.Identity, in.Target, v)); match && ((p == no && got) || (p == yes && !got)) {
				t.Fatalf("%s for %v: said to be %v, is %v", when, v, p, got)
			}
		}
	})
}

// Many at once, over more identities than are remembered.
func TestConcurrent(t *testing.T) {
	p := compile(t, standard()...)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 3000 {
				id := *ada
				id.Name = fmt.Sprint("u", g, i)
				if i%2 == 1 {
					id.Groups = nil
				}
				want := doorward.Allow
				if i%2 == 1 {
					want = doorward.Deny
				}
				if d := p.ask(&id, read("t")); d.Outcome != want {
					t.Errorf("%v: %v", id, d)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := len(p.views); n > maxViews {
		t.Errorf("%d lists are kept", n)
	}
}

// A kept list does not follow later changes of the identity it was made for.
func TestMemoDoesNotAlias(t *testing.T) {
	p := compile(t, standard()...)
	id := *ada
	id.Groups = []string{"engineers"}
	if d := p.ask(&id, read("t")); d.Outcome != doorward.Allow {
		t.Fatal(d)
	}
	id.Groups[0] = "strangers"
	if d := p.ask(&id, read("t")); d.Outcome != doorward.Deny {
		t.Fatal(d)
	}
	// Parts that run together when written without their lengths.
	a := &doorward.Identity{Name: "x", Agent: "yz"}
	b := &doorward.Identity{Name: "xy", Agent: "z"}
	if string(viewKey(nil, a, "t")) == string(viewKey(nil, b, "t")) {
		t.Error("two identities share a key")
	}
}

func FuzzCompile(f *testing.F) {
	for _, a := range atoms {
		f.Add(a, "public.*", "r")
	}
	f.Add("effect.objects.map(o, o.name).exists(n, n.matches('a+'))", "function:x", "r")
	f.Add("[[[[[[", "", "")
	f.Add("effect == effect && identity != identity", ":", "\x00")
	f.Add("effect.objects[0] == effect.objects[1]", "a:b:c", "r")
	f.Add("type(effect) == type(time)", "*", "r")
	f.Add("string(effect) == ''", "*", "r")
	f.Fuzz(func(t *testing.T, when, object, name string) {
		p, err := Compile(Document{Rules: []Rule{
			{Name: name, Targets: []string{object}, Objects: []string{object}, When: when, Then: "allow"},
			{Name: "second", Targets: []string{"*"}, When: when, Then: "review", Reviewers: Reviewers{Users: []string{"x"}}, Incomplete: true},
		}})
		if err != nil {
			return
		}
		for _, e := range []*doorward.Effect{read("public.a"), write("public.a", doorward.VerbDelete, -1), {}, {Refuse: "x"}} {
			in := Input{Identity: ada, Target: "orders-db", Protocol: "postgres", Effect: e, Now: now}
			d := p.Decide(in)
			if d.Outcome < doorward.Allow || d.Outcome > doorward.Deny {
				t.Fatalf("%+v", d)
			}
			if d.Outcome == doorward.Allow && (!e.Complete || e.Refuse != "") {
				t.Fatalf("allowed: %+v", e)
			}
			if d.Outcome != doorward.Deny && !e.ReadOnly() && !p.CouldWrite(ada, "orders-db") {
				t.Fatalf("%s: could not write", when)
			}
		}
	})
}

// Conditions made of whatever tokens compile or are refused with a reason, and
// what compiles decides without trouble.
func TestRandomConditions(t *testing.T) {
	tokens := append([]string{"(", ")", "&&", "||", "!", "==", "!=", "<", ">=", "+", "-", "*", "/", "%", "in", "[", "]", "{", "}", ",", ".", "?", ":", "1", "0", "-1", "'x'", "b'x'", "1.5", "1u", "null",
		"effect", "identity", "target", "time", "o", "effect.objects", "effect.verbs", ".exists(o, ", ".all(o, ", ".map(o, ", "o.name", "has(", "size(", "glob(", "matches(", "type(", "dyn(", "effect.bound", "identity.groups", "doorward.Object"}, atoms...)
	inputs := []*doorward.Effect{read("public.a"), write("public.a", doorward.VerbDelete, -1), {}}
	rapid.Check(t, func(t *rapid.T) {
		when := ""
		for _, tok := range rapid.SliceOfN(rapid.SampledFrom(tokens), 1, 9).Draw(t, "tokens") {
			when += tok + " "
		}
		p, err := Compile(Document{Rules: []Rule{{Name: "r", Targets: []string{"*"}, When: when, Then: "allow"}}})
		if err != nil {
			if err.Error() == "" {
				t.Fatal("no reason")
			}
			return
		}
		for _, e := range inputs {
			in := Input{Identity: ada, Target: "orders-db", Protocol: "postgres", Effect: e, Now: now}
			if d := p.Decide(in); d.Outcome == doorward.Allow && (!e.Complete || (!e.ReadOnly() && !p.CouldWrite(ada, "orders-db"))) {
				t.Fatalf("%s: %+v", when, d)
			}
			p.WhoCan("orders-db", doorward.VerbDelete)
		}
	})
}
