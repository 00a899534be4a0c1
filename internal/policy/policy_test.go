package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doorward/doorward"
)

var (
	ada   = &doorward.Identity{Subject: "corp:1", Name: "ada@corp.example", Provider: "corp", Groups: []string{"engineers"}}
	codex = &doorward.Identity{Subject: "corp:1", Name: "ada@corp.example", Provider: "corp", Groups: []string{"engineers"}, Agent: "codex", Run: "r1"}
	job   = &doorward.Identity{Subject: "ci:9", Name: "deploy", Provider: "ci", Groups: []string{"ci"}, Workload: true}

	now = time.Date(2026, 3, 4, 15, 30, 0, 0, time.UTC) // a Wednesday
)

func read(table string) *doorward.Effect {
	return &doorward.Effect{Verbs: doorward.VerbRead, Kinds: []string{"SELECT"}, Complete: true, Bound: -1,
		Objects: []doorward.Object{{Kind: "table", Name: table, Verb: doorward.VerbRead}}}
}

func write(table string, verb doorward.Verb, bound int64) *doorward.Effect {
	e := &doorward.Effect{Verbs: verb, Kinds: []string{"UPDATE"}, Complete: true, Bound: bound,
		Objects: []doorward.Object{{Kind: "table", Name: table, Verb: verb}}}
	if bound < 0 {
		e.Traits |= doorward.TraitUnbounded
	}
	return e
}

func compile(t testing.TB, rules ...Rule) *Policy {
	t.Helper()
	p, err := Compile(Document{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *Policy) ask(id *doorward.Identity, e *doorward.Effect) doorward.Decision {
	return p.Decide(Input{Identity: id, Target: "orders-db", Protocol: "postgres", Effect: e, Now: now})
}

var all = []string{"*"}

// standard is the example of the manual.
func standard() []Rule {
	return []Rule{
		{Name: "engineers-read", Who: Who{Groups: []string{"engineers"}}, Targets: []string{"orders-db"}, When: "effect.read_only", Then: "allow",
			Limits: Limits{Rows: 10000, Bytes: 64 << 20, Time: 30 * time.Second}},
		{Name: "bounded-writes-need-a-yes", Who: Who{Groups: []string{"engineers"}}, Targets: []string{"orders-db"}, When: "effect.writes && !effect.unbounded",
			Then: "review", Reviewers: Reviewers{Groups: []string{"dba", "team-leads"}}, MaxRows: 50, Limits: Limits{Time: 10 * time.Second}},
		{Name: "no-unbounded-writes", Targets: all, When: "effect.unbounded", Then: "deny", Hint: "Add a WHERE clause that names the rows by key."},
	}
}

func TestStandard(t *testing.T) {
	p := compile(t, standard()...)
	d := p.ask(codex, read("public.orders"))
	if d.Outcome != doorward.Allow || d.Rule != "engineers-read" || d.Limits.Rows != 10000 || d.Limits.Bytes != 64<<20 || d.Limits.Time != 30*time.Second {
		t.Errorf("read: %+v", d)
	}
	d = p.ask(codex, write("public.orders", doorward.VerbUpdate, 1))
	want := []doorward.Quorum{{Groups: []string{"dba", "team-leads"}, Count: 1}}
	if d.Outcome != doorward.Hold || d.Rule != "bounded-writes-need-a-yes" || d.MaxRows != 50 || d.Version != p.Version() || !cmp.Equal(d.Reviewers, want) {
		t.Errorf("bounded write: %+v", d)
	}
	if !strings.Contains(d.Reason, "dba or team-leads") {
		t.Errorf("reason of a review does not say who is asked: %q", d.Reason)
	}
	d = p.ask(codex, write("public.orders", doorward.VerbDelete, -1))
	if d.Outcome != doorward.Deny || d.Rule != "no-unbounded-writes" || d.Hint != "Add a WHERE clause that names the rows by key." {
		t.Errorf("unbounded write: %+v", d)
	}
}

func TestNothingMatches(t *testing.T) {
	p := compile(t, standard()...)
	d := p.ask(job, read("public.orders"))
	if d.Outcome != doorward.Deny || d.Rule != "" || d.Reason == "" || !strings.Contains(d.Hint, "Nothing on orders-db is open to you") {
		t.Errorf("stranger: %+v", d)
	}
	e := read("public.orders")
	e.Verbs |= doorward.VerbExecute
	d = p.ask(codex, e)
	if d.Outcome != doorward.Deny || !strings.Contains(d.Reason, "ada@corp.example via codex") || !strings.Contains(d.Hint, "you may: read.") || !strings.Contains(d.Hint, "yes: create, update, delete") {
		t.Errorf("execute: %+v", d)
	}
	d = compile(t).ask(ada, read("x"))
	if d.Outcome != doorward.Deny {
		t.Errorf("the empty policy: %+v", d)
	}
}

// The hint names no verb that a rule's list of verbs leaves out.
func TestHintOfListedVerbs(t *testing.T) {
	p := compile(t, Rule{Name: "a", Targets: all, When: "effect.complete && effect.verbs.all(v, v in ['create', 'update'])", Then: "review", Reviewers: Reviewers{Users: []string{"bob"}}})
	d := p.Decide(Input{Identity: &doorward.Identity{Name: "ada"}, Target: "t", Protocol: "kubernetes", Effect: &doorward.Effect{Verbs: doorward.VerbExecute, Complete: true}})
	if d.Outcome != doorward.Deny || !strings.Contains(d.Hint, "create, update") || strings.Contains(d.Hint, "execute") || strings.Contains(d.Hint, "delete") {
		t.Errorf("%s: %q", d.Outcome, d.Hint)
	}
}

func TestStrictestWins(t *testing.T) {
	rules := []Rule{
		{Name: "a", Targets: all, Then: "allow", Limits: Limits{Rows: 10, Time: time.Minute}},
		{Name: "b", Targets: all, Then: "allow", Limits: Limits{Rows: 20, Time: time.Second, PerMinute: 5}},
	}
	d := compile(t, rules...).ask(ada, read("t"))
	if want := (doorward.Limits{Rows: 10, Time: time.Second, PerMinute: 5}); d.Outcome != doorward.Allow || d.Limits != want || d.Rule != "a" {
		t.Errorf("allow and allow: %+v", d)
	}
	rules = append(rules,
		Rule{Name: "c", Targets: all, Then: "review", Reviewers: Reviewers{Groups: []string{"x"}, Count: 2}, MaxRows: 9},
		Rule{Name: "d", Targets: all, Then: "review", Reviewers: Reviewers{Users: []string{"bob"}}, MaxRows: 7, Preview: true},
		Rule{Name: "e", Targets: all, Then: "review", Reviewers: Reviewers{Users: []string{"bob"}}},
	)
	d = compile(t, rules...).ask(ada, read("t"))
	want := []doorward.Quorum{{Groups: []string{"x"}, Count: 2}, {Users: []string{"bob"}, Count: 1}}
	if d.Outcome != doorward.Hold || d.Rule != "c" || d.MaxRows != 7 || !d.Preview || d.Limits.Rows != 10 || !cmp.Equal(d.Reviewers, want) {
		t.Errorf("with reviews: %+v", d)
	}
	rules = append(rules, Rule{Name: "z", Targets: all, Then: "deny"})
	d = compile(t, rules...).ask(ada, read("t"))
	if d.Outcome != doorward.Deny || d.Rule != "z" || d.Reviewers != nil || d.Limits != (doorward.Limits{}) {
		t.Errorf("with a denial: %+v", d)
	}
}

func TestClassifierHasTheLastWord(t *testing.T) {
	anything := compile(t, Rule{Name: "all", Targets: all, Then: "allow"})
	e := read("t")
	e.Refuse, e.Hint = "reads a file of the server", "COPY … TO STDOUT"
	if d := anything.ask(ada, e); d.Outcome != doorward.Deny || d.Reason != e.Refuse || d.Hint != e.Hint {
		t.Errorf("refused: %+v", d)
	}
	e = read("t")
	e.MaskUse, e.Masked = doorward.MaskOther, []string{"public.customers.ssn"}
	if d := anything.ask(ada, e); d.Outcome != doorward.Deny || !strings.Contains(d.Reason, "public.customers.ssn") || d.Hint == "" {
		t.Errorf("masked otherwise: %+v", d)
	}
	e = read("t")
	e.MaskUse = doorward.MaskPlain
	if d := anything.ask(ada, e); d.Outcome != doorward.Allow {
		t.Errorf("masked plainly: %+v", d)
	}
	for _, in := range []Input{{}, {Identity: ada, Target: "t"}, {Effect: read("t"), Target: "t"}} {
		if d := anything.Decide(in); d.Outcome != doorward.Deny {
			t.Errorf("%+v: %+v", in, d)
		}
	}
}

func TestIncomplete(t *testing.T) {
	e := read("t")
	e.Complete = false
	review := Rule{Name: "r", Targets: all, Then: "review", Reviewers: Reviewers{Groups: []string{"dba"}}}
	allow := Rule{Name: "a", Targets: all, Then: "allow"}
	if d := compile(t, allow, review).ask(ada, e); d.Outcome != doorward.Deny || !strings.Contains(d.Reason, "cannot tell") {
		t.Errorf("nobody opted in: %+v", d)
	}
	review.Incomplete = true
	other := Rule{Name: "s", Targets: all, Then: "review", Reviewers: Reviewers{Users: []string{"bob"}}}
	if d := compile(t, allow, review, other).ask(ada, e); d.Outcome != doorward.Hold || len(d.Reviewers) != 2 {
		t.Errorf("opted in: %+v", d)
	}
	if d := compile(t, allow, review, Rule{Name: "d", Targets: all, Then: "deny"}).ask(ada, e); d.Outcome != doorward.Deny {
		t.Errorf("opted in, and denied: %+v", d)
	}
}

func TestWho(t *testing.T) {
	for _, c := range []struct {
		who  Who
		want string // a: ada herself, c: by codex, j: the job
	}{
		{Who{}, "acj"},
		{Who{Users: []string{"ada@corp.example"}}, "ac"},
		{Who{Users: []string{"*@corp.example"}}, "ac"},
		{Who{Users: []string{"*"}}, "ac"},
		{Who{Groups: []string{"engineers"}}, "ac"},
		{Who{Groups: []string{"ci"}}, "j"},
		{Who{Groups: []string{"ci"}, Users: []string{"ada*"}}, "acj"},
		{Who{Workloads: []string{"*"}}, "j"},
		{Who{Workloads: []string{"ada*"}}, ""},
		{Who{Agents: []string{"*"}}, "c"},
		{Who{Agents: []string{"code?"}, Groups: []string{"engineers"}}, "c"},
		{Who{Agents: []string{"claude"}}, ""},
		{Who{Agents: []string{"codex"}, Groups: []string{"ci"}}, ""},
		{Who{Providers: []string{"corp"}}, "ac"},
		{Who{Providers: []string{"ci"}, Groups: []string{"engineers"}}, ""},
	} {
		p := compile(t, Rule{Name: "r", Who: c.who, Targets: all, Then: "allow"})
		got := ""
		for _, x := range []struct {
			tag string
			id  *doorward.Identity
		}{{"a", ada}, {"c", codex}, {"j", job}} {
			if p.ask(x.id, read("t")).Outcome == doorward.Allow {
				got += x.tag
			}
		}
		if got != c.want {
			t.Errorf("%+v: applies to %q, want %q", c.who, got, c.want)
		}
	}
}

func TestCredentialBoundToTargets(t *testing.T) {
	p := compile(t, Rule{Name: "r", Targets: all, Then: "allow"})
	id := *ada
	id.Targets = []string{"other"}
	if d := p.ask(&id, read("t")); d.Outcome != doorward.Deny || !strings.Contains(d.Hint, "other") {
		t.Errorf("%+v", d)
	}
	if p.Reaches(&id, "orders-db") || !p.Reaches(&id, "other") || p.CouldWrite(&id, "orders-db") {
		t.Error("reaches a target that the credential is not for")
	}
}

func TestObjects(t *testing.T) {
	listed := []string{"public.customers", "public.orders", "function:pg_catalog.*", "catalog:information_schema.?ables"}
	allow := Rule{Name: "listed", Targets: all, Then: "allow", Objects: listed}
	everything := Rule{Name: "everything", Targets: all, Then: "allow"}
	outside := Rule{Name: "listed-only", Targets: all, Then: "deny", Outside: listed}
	effect := func(objects ...doorward.Object) *doorward.Effect {
		return &doorward.Effect{Verbs: doorward.VerbRead, Complete: true, Objects: objects}
	}
	obj := func(kind, name string) doorward.Object {
		return doorward.Object{Kind: kind, Name: name, Verb: doorward.VerbRead}
	}
	for _, c := range []struct {
		e    *doorward.Effect
		want bool
	}{
		{effect(), true},
		{effect(obj("table", "public.customers")), true},
		{effect(obj("table", "public.customers"), obj("table", "public.orders")), true},
		{effect(obj("table", "public.customers"), obj("table", "public.employees")), false},
		{effect(obj("table", "internal.customers")), false},
		{effect(obj("function", "pg_catalog.lower")), true},
		{effect(obj("catalog", "pg_catalog.pg_authid")), false},
		{effect(obj("catalog", "information_schema.tables")), true},
		{effect(obj("view", "information_schema.tables")), false},
		{effect(obj("setting", "TimeZone"), obj("column", "public.customers.id")), true},
		{effect(obj("large_object", "424242")), false},
		{effect(obj("table", "PUBLIC.customers")), false},
	} {
		if got := compile(t, allow).ask(ada, c.e).Outcome == doorward.Allow; got != c.want {
			t.Errorf("objects, %+v: allowed %v", c.e.Objects, got)
		}
		d := compile(t, everything, outside).ask(ada, c.e)
		if got := d.Outcome == doorward.Allow; got != c.want {
			t.Errorf("outside, %+v: allowed %v", c.e.Objects, got)
		}
		if !c.want && !strings.Contains(d.Reason, "is not on the list") {
			t.Errorf("reason: %q", d.Reason)
		}
	}
}

func TestConditions(t *testing.T) {
	e := write("public.orders", doorward.VerbUpdate|doorward.VerbRead, 3)
	e.Traits |= doorward.TraitMulti | doorward.TraitLocks
	e.Objects = append(e.Objects, doorward.Object{Kind: "function", Name: "public.f", Verb: doorward.VerbExecute})
	for when, want := range map[string]bool{
		"":                                   true,
		"true":                               true,
		"effect.writes":                      true,
		"effect.read_only":                   false,
		"!effect.read_only":                  true,
		"effect.bound <= 3":                  true,
		"effect.bound < 3":                   false,
		"effect.bound == 3":                  true,
		"effect.bound != 3":                  false,
		"effect.bound > 2":                   true,
		"effect.bound >= 4":                  false,
		"3 <= effect.bound":                  true,
		"effect.bound * 2 == 6":              true,
		"'update' in effect.verbs":           true,
		"'delete' in effect.verbs":           false,
		"effect.verbs == ['read', 'update']": true,
		"effect.verbs.all(v, v in ['read', 'update'])":                               true,
		"'UPDATE' in effect.kinds":                                                   true,
		"effect.kinds.exists(k, k.startsWith('DROP'))":                               false,
		"effect.multi_statement && effect.locks && !effect.leaves && !effect.masked": true,
		"effect.irreversible || effect.mass_read || effect.unbounded":                false,
		"effect.complete":                                                                   true,
		"effect.refuse == ''":                                                               true,
		"size(effect.objects) == 2":                                                         true,
		"size(effect.masked_columns) == 0":                                                  true,
		"effect.objects.exists(o, o.name == 'public.orders')":                               true,
		"effect.objects.all(o, glob(o.name, 'public.*'))":                                   true,
		"effect.objects.exists(o, o.kind == 'function' && 'execute' in o.verbs)":            true,
		"effect.objects.filter(o, o.kind == 'table').all(o, o.name.matches('^public[.]o'))": true,
		"identity.name == 'ada@corp.example'":                                               true,
		"identity.name.endsWith('@corp.example')":                                           true,
		"identity.subject == 'corp:1' && identity.provider != 'ci'":                         true,
		"identity.person":                                                                   false,
		"identity.agent == 'codex' && identity.run == 'r1'":                                 true,
		"identity.workload":                                                                 false,
		"'engineers' in identity.groups":                                                    true,
		"identity.groups.exists(g, g == 'dba')":                                             false,
		"target.name == 'orders-db' && target.protocol == 'postgres'":                       true,
		"time.hour >= 9 && time.hour < 18":                                                  true,
		"time.weekday in ['saturday', 'sunday']":                                            false,
		"time.weekday == 'wednesday'":                                                       true,
		"time.now < timestamp('2027-01-01T00:00:00Z')":                                      true,
		"time.now.getHours('+02:00') == 17":                                                 true,
		"has(effect.bound)":                                                                 true,
		"effect.writes ? effect.bound < 10 : false":                                         true,
		"false && 1/0 == 1":                                                                 false,
		"effect.read_only && 1/(effect.bound - 3) == 1":                                     false,
		"effect.writes || 1/(effect.bound - 3) == 1":                                        true,
	} {
		p, err := Compile(Document{Rules: []Rule{{Name: "r", Targets: all, When: when, Then: "allow"}}})
		if err != nil {
			t.Errorf("%s: %v", when, err)
			continue
		}
		d := p.ask(codex, e)
		if got := d.Outcome == doorward.Allow; got != want {
			t.Errorf("%s: %v, want %v (%s)", when, got, want, d.Reason)
		}
	}
}

func TestErrorsDeny(t *testing.T) {
	e := write("public.orders", doorward.VerbUpdate, 0)
	many := read("t")
	for range 5000 {
		many.Objects = append(many.Objects, doorward.Object{Kind: "table", Name: strings.Repeat("x", 60)})
	}
	for _, c := range []struct {
		when string
		e    *doorward.Effect
	}{
		{"1 / effect.bound == 1", e},
		{"effect.verbs[7] == 'read'", e},
		{"effect.objects[3].name == 'x'", e},
		{"effect.writes && 10 % effect.bound == 1", e},
		{"dyn(effect.bound) + dyn('x') == dyn('y')", e},
		{"int(identity.name) == 3", e},
		{"time.now.getHours('Nowhere/Land') == 3", e},
		{"effect.objects.filter(o, effect.objects.exists(p, p.name == o.name + 'z')).size() == 1", many}, // over the cost limit
	} {
		for _, then := range []string{"allow", "deny", "review"} {
			r := Rule{Name: "broken", Targets: all, When: c.when, Then: then}
			if then == "review" {
				r.Reviewers.Groups = []string{"g"}
			}
			p := compile(t, r, Rule{Name: "all", Targets: all, Then: "allow"})
			d := p.ask(ada, c.e)
			if d.Outcome != doorward.Deny || d.Rule != "broken" || !strings.Contains(d.Reason, "could not be evaluated") {
				t.Errorf("%s, %s: %+v", c.when, then, d)
			}
			if len(d.Reason) > 400 {
				t.Errorf("%s: the reason has %d bytes", c.when, len(d.Reason))
			}
		}
	}
}

func TestCompileErrors(t *testing.T) {
	good := func() Rule { return Rule{Name: "r", Targets: all, Then: "allow"} }
	for name, c := range map[string]struct {
		change func(*Rule)
		field  string
		want   string
	}{
		"name":        {func(r *Rule) { r.Name = " " }, "name", "needs a name"},
		"then":        {func(r *Rule) { r.Then = "" }, "then", "then: allow"},
		"then typo":   {func(r *Rule) { r.Then = "alow" }, "then", "did you mean allow?"},
		"targets":     {func(r *Rule) { r.Targets = nil }, "targets", `["*"]`},
		"target":      {func(r *Rule) { r.Targets = []string{""} }, "targets", "empty"},
		"field":       {func(r *Rule) { r.When = "effect.readonly" }, "when", "did you mean effect.read_only?"},
		"field 2":     {func(r *Rule) { r.When = "identity.gruops == []" }, "when", "did you mean identity.groups?"},
		"object":      {func(r *Rule) { r.When = "effect.objects.all(o, o.nmae == 'x')" }, "when", "did you mean name?"},
		"variable":    {func(r *Rule) { r.When = "efect.writes" }, "when", "did you mean effect?"},
		"unknown":     {func(r *Rule) { r.When = "banana" }, "when", "effect, http, identity, target, time"},
		"syntax":      {func(r *Rule) { r.When = "effect.writes &&" }, "when", "column"},
		"type":        {func(r *Rule) { r.When = "effect.bound" }, "when", "not true or false"},
		"mixed types": {func(r *Rule) { r.When = "effect.bound == 'x'" }, "when", "column 14"},
		"regexp":      {func(r *Rule) { r.When = "identity.name.matches('(')" }, "when", "column"},
		"long":        {func(r *Rule) { r.When = strings.Repeat("true && ", 2000) + "true" }, "when", "bytes"},
		"deep":        {func(r *Rule) { r.When = strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500) }, "when", ""},
		"make":        {func(r *Rule) { r.When = "doorward.Object{}.name == ''" }, "when", "cannot make"},
		"no reviewer": {func(r *Rule) { r.Then = "review" }, "reviewers", "nobody could say yes"},
		"too few":     {func(r *Rule) { r.Then = "review"; r.Reviewers = Reviewers{Users: []string{"a"}, Count: 2} }, "reviewers.count", "2 yeses"},
		"reviewers":   {func(r *Rule) { r.Reviewers.Groups = []string{"dba"} }, "reviewers", "then: review"},
		"incomplete":  {func(r *Rule) { r.Incomplete = true }, "incomplete", "then: review"},
		"max_rows":    {func(r *Rule) { r.MaxRows = 3 }, "max_rows", "then: review"},
		"deny limits": {func(r *Rule) { r.Then = "deny"; r.Limits.Rows = 1 }, "limits", "nothing to limit"},
		"negative":    {func(r *Rule) { r.Limits.Rows = -1 }, "limits.rows", "not negative"},
		"bad object":  {func(r *Rule) { r.Objects = []string{"table:"} }, "objects", "is not an object"},
	} {
		r := good()
		c.change(&r)
		_, err := Compile(Document{Rules: []Rule{{Name: "before", Targets: all, Then: "deny"}, r}})
		var es Errors
		if !errors.As(err, &es) {
			t.Errorf("%s: compiles", name)
			continue
		}
		if es[0].Rule != 1 || es[0].Field != c.field || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: field %q: %v", name, es[0].Field, err)
		}
	}
	_, err := Compile(Document{Rules: []Rule{good(), good()}})
	if err == nil || !strings.Contains(err.Error(), "has this name already") {
		t.Errorf("twice the same name: %v", err)
	}
	if _, err := Compile(Document{Rules: make([]Rule, maxRules+1)}); err == nil {
		t.Error("too many rules compile")
	}
}

func TestVersion(t *testing.T) {
	a := compile(t, standard()...)
	rules := standard()
	rules[0], rules[2] = rules[2], rules[0]
	if b := compile(t, rules...); a.Version() != b.Version() || len(a.Version()) != 64 {
		t.Error("the order of rules changes the version")
	}
	rules[0].Hint += "!"
	if b := compile(t, rules...); a.Version() == b.Version() {
		t.Error("a change of a rule does not change the version")
	}
	b, err := Compile(Document{Rules: standard(), Bound: []byte("masking")})
	if err != nil || a.Version() == b.Version() {
		t.Error("a change of the masking does not change the version", err)
	}
}

func TestReachesAndCouldWrite(t *testing.T) {
	reviewers := Reviewers{Groups: []string{"dba"}}
	for _, c := range []struct {
		name           string
		rules          []Rule
		reaches, write bool
	}{
		{"empty", nil, false, false},
		{"standard", standard(), true, true},
		{"reads", standard()[:1], true, false},
		{"review of writes", []Rule{{Name: "w", Targets: all, When: "effect.writes", Then: "review", Reviewers: reviewers}}, true, true},
		{"denials only", standard()[2:], false, false},
		{"all denied", append(standard(), Rule{Name: "freeze", Targets: all, Then: "deny"}), false, false},
		{"writes denied", []Rule{{Name: "a", Targets: all, Then: "allow"}, {Name: "d", Targets: all, When: "!effect.read_only", Then: "deny"}}, true, false},
		{"others", []Rule{{Name: "a", Targets: all, Who: Who{Groups: []string{"dba"}}, Then: "allow"}}, false, false},
		{"by condition", []Rule{{Name: "a", Targets: all, When: "'dba' in identity.groups && effect.writes", Then: "allow"}}, false, false},
		{"other target", []Rule{{Name: "a", Targets: []string{"x*"}, Then: "allow"}}, false, false},
		{"two reads", []Rule{{Name: "a", Targets: all, When: "effect.read_only && effect.objects.all(o, o.name != 'x')", Then: "allow"}}, true, false},
		{"or", []Rule{{Name: "a", Targets: all, When: "effect.read_only || time.hour == 3", Then: "allow"}}, true, true},
	} {
		p := compile(t, c.rules...)
		if got := p.Reaches(ada, "orders-db"); got != c.reaches {
			t.Errorf("%s: reaches %v", c.name, got)
		}
		if got := p.CouldWrite(ada, "orders-db"); got != c.write {
			t.Errorf("%s: could write %v", c.name, got)
		}
	}
	for _, c := range []struct {
		rules []Rule
		want  bool
	}{
		{nil, false},
		{standard(), true},
		{standard()[:1], false},
		{[]Rule{{Name: "a", Targets: all, When: "'dba' in identity.groups && effect.writes", Then: "allow"}}, true},
		{[]Rule{{Name: "a", Targets: all, When: "identity.agent == 'x'", Then: "allow"}, {Name: "d", Targets: all, When: "effect.writes", Then: "deny"}}, true},
		{[]Rule{{Name: "a", Targets: all, Then: "allow"}, {Name: "d", Targets: all, When: "!effect.read_only", Then: "deny"}}, false},
		{[]Rule{{Name: "a", Targets: all, Then: "allow"}, {Name: "d", Targets: all, Who: Who{Agents: []string{"*"}}, Then: "deny"}}, true},
	} {
		if got := compile(t, c.rules...).CouldAnyoneWrite("orders-db"); got != c.want {
			t.Errorf("%+v: anyone could write: %v", c.rules, got)
		}
	}
	p := compile(t, standard()...)
	if p.Reaches(nil, "x") || p.CouldWrite(nil, "x") {
		t.Error("nobody reaches something")
	}
}

func TestTimeDependent(t *testing.T) {
	if compile(t, standard()...).TimeDependent() {
		t.Error("no rule asks for the time")
	}
	for _, when := range []string{"time.hour < 9", "effect.writes && (time.weekday == 'sunday' || effect.unbounded)", "[1].all(x, time.now == time.now)"} {
		if !compile(t, Rule{Name: "r", Targets: all, When: when, Then: "allow"}).TimeDependent() {
			t.Errorf("%s asks for the time", when)
		}
	}
}

func TestWhoCan(t *testing.T) {
	p := compile(t, standard()...)
	var got []string
	for _, x := range p.WhoCan("orders-db", doorward.VerbDelete) {
		got = append(got, x.Decision+" "+x.Rule+" "+x.Who.String()+" "+x.When)
	}
	want := []string{
		"deny no-unbounded-writes everybody effect.unbounded",
		"review bounded-writes-need-a-yes group engineers effect.writes && !effect.unbounded",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	reads := p.WhoCan("orders-db", doorward.VerbRead)
	if len(reads) != 1 || reads[0].Rule != "engineers-read" || !reads[0].Always {
		t.Errorf("%+v", reads)
	}
	if x := p.WhoCan("other", doorward.VerbRead); len(x) != 0 {
		t.Errorf("%+v", x)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"64MiB": 64 << 20, "1 GiB": 1 << 30, "10kB": 10_000, "5MB": 5_000_000, "123": 123, "7B": 7, "0": 0} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5MiB", "9999999999GiB", "1TiB", "0x10", "1e3"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
	for _, s := range []Size{0, 1, 1023, 1 << 10, 64 << 20, 3 << 30, 1<<20 + 1} {
		if back, err := ParseSize(s.String()); err != nil || back != s {
			t.Errorf("%d → %s → %d, %v", s, s, back, err)
		}
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "abc", true}, {"a*", "abc", true}, {"*c", "abc", true},
		{"a*c", "abbbc", true}, {"a*c", "abbb", false}, {"?", "a", true}, {"?", "", false}, {"a?c", "abc", true},
		{"*a*b*", "xxaxxbxx", true}, {"*a*b*", "xxbxxaxx", false}, {"public.*", "public.x", true}, {"public.*", "publicx", false},
		{strings.Repeat("a*", 50) + "b", strings.Repeat("a", 2000), false},
	} {
		if got := Glob(c.pattern, c.s); got != c.want {
			t.Errorf("Glob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

func TestClosest(t *testing.T) {
	known := []string{"targets", "then", "when", "reviewers"}
	for word, want := range map[string]string{"tagrets": "targets", "target": "targets", "wehn": "when", "banana": "", "": "", "reviewer": "reviewers", "THEN": "then"} {
		if got := Closest(word, known); got != want {
			t.Errorf("Closest(%q) = %q, want %q", word, got, want)
		}
	}
}
