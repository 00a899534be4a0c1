package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/doorward/doorward/internal/mask"
	"github.com/doorward/doorward/internal/policy"
)

// fill sets what was left out, and resolves what is written env:NAME.
func (c *Config) fill() {
	c.unset = map[string]string{}
	or(&c.Listen.Console, DefaultConsole)
	or(&c.Listen.Postgres, DefaultPostgres)
	or(&c.Store, DefaultStore)
	or(&c.Ledger, filepath.Join(c.StateDir(), "ledger"))
	or(&c.Recordings, "file://"+filepath.Join(c.StateDir(), "tapes"))
	or(&c.Review.Wait, DefaultReviewWait)
	or(&c.Review.Expiry, DefaultReviewExpiry)
	or(&c.Review.URL, "https://"+c.consoleName())
	or(&c.Record.ReplyBytes, DefaultReplyBytes)
	or(&c.Record.SessionBytes, DefaultSessionBytes)
	or(&c.Identity.TokenTTL, DefaultTokenTTL)
	or(&c.Identity.RunTTL, DefaultRunTTL)
	if len(c.Identity.Admins) == 0 {
		c.Identity.Admins = []string{DefaultAdmins}
	}

	providers := slices.Clone(c.Identity.Providers)
	for i := range providers {
		if o := providers[i].OIDC; o != nil {
			o := *o
			or(&o.GroupsClaim, "groups")
			or(&o.NameClaim, "email")
			if len(o.Audiences) == 0 && o.ClientID != "" {
				o.Audiences = []string{o.ClientID}
			}
			if len(o.Scopes) == 0 {
				o.Scopes = []string{"openid", "email", "profile"}
			}
			providers[i].OIDC = &o
		}
		if w := providers[i].Workload; w != nil {
			w := *w
			or(&w.Subject, "claims.sub")
			providers[i].Workload = &w
		}
	}
	c.Identity.Providers = providers

	targets := make(map[string]Target, len(c.Targets))
	for name, t := range c.Targets {
		if t.Postgres != nil {
			p := *t.Postgres
			or(&p.TLS, "verify-full")
			or(&p.MaxConnections, DefaultMaxConnections)
			for key, value := range map[string]*string{"address": &p.Address, "database": &p.Database, "user": &p.User} {
				var missing string
				if *value, missing = fromEnv(*value); missing != "" {
					c.unset["targets."+name+".postgres."+key] = missing
				}
			}
			t.Postgres = &p
		}
		if t.SSH != nil {
			t.SSH = c.fillSSH(name, t.SSH)
			or(&c.Listen.SSH, DefaultSSH)
		}
		if t.Kubernetes != nil {
			t.Kubernetes = c.fillKubernetes(name, t.Kubernetes)
			or(&c.Listen.Kubernetes, DefaultKubernetes)
		}
		if t.HTTP != nil {
			t.HTTP = c.fillHTTP(name, t.HTTP)
			or(&c.Listen.HTTP, DefaultHTTP)
		}
		targets[name] = t
	}
	c.Targets = targets
}

func or[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// consoleName is how people reach the console, as far as the listeners tell.
func (c *Config) consoleName() string {
	host, port, err := net.SplitHostPort(c.Listen.Console)
	if err != nil {
		return c.Listen.Console
	}
	if c.Listen.Host != "" {
		host = c.Listen.Host
	} else if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// StorePath is the path of the SQLite file.
func (c *Config) StorePath() string {
	path := strings.TrimPrefix(c.Store, "sqlite://")
	path, _, _ = strings.Cut(path, "?")
	return path
}

// StateDir is the folder of the SQLite file: what doorward makes for itself
// (its CA, keys, the ledger and the tapes by default) is kept there.
func (c *Config) StateDir() string { return filepath.Dir(c.StorePath()) }

// RecordingsDir is the folder of the tapes.
func (c *Config) RecordingsDir() string { return strings.TrimPrefix(c.Recordings, "file://") }

// Ready reports what has to be there before the gate can run but is not part
// of the file: environment variables and secret files.
func (c *Config) Ready() error {
	var problems Problems
	for path, name := range c.unset {
		problems = append(problems, c.where.problem(path, "the environment variable "+name+" has no value", "set it before doorward starts"))
	}
	secret := func(path string, s Secret) {
		if _, err := s.Resolve(); err != nil {
			problems = append(problems, c.where.problem(path, err.Error(), ""))
		}
	}
	for name, t := range c.Targets {
		if t.Postgres != nil {
			secret("targets."+name+".postgres.password", t.Postgres.Password)
		}
		if t.SSH != nil {
			secret("targets."+name+".ssh.password", t.SSH.Password)
			secret("targets."+name+".ssh.key", t.SSH.Key)
			if _, err := t.SSH.PinnedKeys(); err != nil {
				problems = append(problems, c.where.problem("targets."+name+".ssh.known_hosts", err.Error(), ""))
			}
		}
		if t.Kubernetes != nil {
			for key, err := range t.Kubernetes.readable() {
				if err != nil {
					problems = append(problems, c.where.problem("targets."+name+".kubernetes."+key, err.Error(), ""))
				}
			}
		}
		if t.HTTP != nil {
			for key, err := range t.HTTP.readable() {
				if err != nil {
					problems = append(problems, c.where.problem("targets."+name+".http."+key, err.Error(), ""))
				}
			}
		}
	}
	for i, p := range c.Identity.Providers {
		path := fmt.Sprintf("identity.providers[%d]", i)
		if p.OIDC != nil {
			secret(path+".oidc.client_secret", p.OIDC.ClientSecret)
		}
		if p.Local != nil {
			for j, u := range p.Local.Users {
				secret(fmt.Sprintf("%s.local.users[%d].password", path, j), u.Password)
			}
		}
	}
	if len(problems) == 0 {
		return nil
	}
	problems.sort()
	return problems
}

// bound is what the policy's version covers beside the rules.
func (c *Config) bound() []byte {
	functions := map[string][]string{}
	for name, t := range c.Targets {
		if t.Postgres != nil && len(t.Postgres.Functions) > 0 {
			functions[name] = slices.Sorted(slices.Values(t.Postgres.Functions))
		}
	}
	b, err := json.Marshal(struct {
		Masking   []mask.Rule         `json:"masking"`
		Functions map[string][]string `json:"functions"`
	}{c.Masking, functions})
	if err != nil {
		panic("config: masking rules that cannot be written: " + err.Error()) // texts and lists only
	}
	return b
}

// MaskSet compiles the masking rules. The key is for the operators that need
// one (hash, pseudonym).
func (c *Config) MaskSet(key []byte) (*mask.Set, error) { return mask.Compile(c.Masking, key) }

// check looks at everything but the rules themselves.
func (c *Config) check() Problems {
	k := &checker{c: c}
	k.listeners()
	k.places()
	k.providers()
	k.targets()
	k.names()
	k.masking()
	k.tests()
	return k.problems
}

type checker struct {
	c        *Config
	problems Problems
}

func (k *checker) bad(path, msg, hint string) {
	k.problems = append(k.problems, k.c.where.problem(path, msg, hint))
}

func (k *checker) listeners() {
	l := k.c.Listen
	for key, addr := range map[string]string{"console": l.Console, "postgres": l.Postgres, "ssh": l.SSH, "kubernetes": l.Kubernetes, "http": l.HTTP} {
		path := "listen." + key
		if (addr == "" && (key == "ssh" || key == "kubernetes" || key == "http")) || !k.address(path, addr) {
			continue
		}
		if key != "ssh" && l.PlaintextOnLoopback && !Loopback(addr) {
			k.bad(path, "plaintext_on_loopback is set, but this is not a loopback address", "listen on 127.0.0.1 or ::1, or remove plaintext_on_loopback: over a network credentials travel by TLS only")
		}
	}
	if l.Console == l.Postgres {
		k.bad("listen.postgres", "the console listens here already", "give each its own port")
	}
	taken := map[string]bool{l.Console: true, l.Postgres: true}
	for _, at := range []struct{ key, addr string }{{"ssh", l.SSH}, {"kubernetes", l.Kubernetes}, {"http", l.HTTP}} {
		if at.addr != "" && taken[at.addr] && !strings.HasSuffix(at.addr, ":0") {
			k.bad("listen."+at.key, "another listener has this address already", "give each its own port")
		}
		taken[at.addr] = true
	}
	if strings.ContainsAny(l.Host, ":/ ") && net.ParseIP(l.Host) == nil {
		k.bad("listen.host", "this is not a host name", "without scheme and port, as in doorward.internal")
	}
	switch t := k.c.TLS; {
	case t.Cert != "" && t.Key == "":
		k.bad("tls.cert", "there is a certificate without its key", "set tls.key too")
	case t.Cert == "" && t.Key != "":
		k.bad("tls.key", "there is a key without its certificate", "set tls.cert too")
	}
}

// Loopback reports whether the address can only be reached from this machine.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func (k *checker) address(path, addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	n, err2 := strconv.Atoi(port)
	if err != nil || err2 != nil || n < 0 || n > 65535 {
		k.bad(path, fmt.Sprintf("%q is not an address", clip(addr, 80)), "write host:port, as in 127.0.0.1:5432")
		return false
	}
	if strings.ContainsAny(host, " /@") {
		k.bad(path, fmt.Sprintf("%q is not a host", clip(host, 80)), "write host:port, as in db.internal:5432")
		return false
	}
	return true
}

func (k *checker) places() {
	c := k.c
	path, ok := strings.CutPrefix(c.Store, "sqlite://")
	switch {
	case !ok:
		k.bad("store", "this is not a store that doorward knows", "write sqlite:///path/state.db")
	case path == "" || strings.HasSuffix(path, "/"):
		k.bad("store", "the path of the file is missing", "write sqlite:///path/state.db")
	}
	if dir, ok := strings.CutPrefix(c.Recordings, "file://"); !ok || dir == "" {
		k.bad("recordings", "this is not a place that doorward can keep tapes in", "write file:///path of a folder")
	}
	if strings.Contains(c.Ledger, "://") {
		k.bad("ledger", "the ledger is a folder on this machine", "write its path")
	}
	u, err := url.Parse(c.Review.URL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		k.bad("review.url", "this is not the address of a console", "write https://host:port")
	}
	within := func(path string, v, least, most time.Duration) {
		if v < least || v > most {
			k.bad(path, fmt.Sprintf("%s is out of range", v), fmt.Sprintf("write a time between %s and %s", least, most))
		}
	}
	within("review.wait", c.Review.Wait, 10*time.Millisecond, 10*time.Minute)
	within("review.expiry", c.Review.Expiry, time.Second, 30*24*time.Hour)
	within("identity.token_ttl", c.Identity.TokenTTL, time.Second, 7*24*time.Hour)
	within("identity.run_ttl", c.Identity.RunTTL, time.Second, 7*24*time.Hour)
	for i, g := range c.Identity.Admins {
		if g == "" || strings.ContainsAny(g, "*?[") {
			k.bad(fmt.Sprintf("identity.admins[%d]", i), "this is not the name of one group", "write the whole name: globs are not taken here")
		}
	}
	if c.Record.ReplyBytes > c.Record.SessionBytes {
		k.bad("record.reply_bytes", "one reply may be larger than its whole session", "make it at most record.session_bytes")
	}
}

func (k *checker) providers() {
	seen := map[string]bool{}
	for i, p := range k.c.Identity.Providers {
		path := fmt.Sprintf("identity.providers[%d]", i)
		if !plainName(p.Name) {
			k.bad(path+".name", "a provider needs a name of letters, digits, - and _", "it stands in front of every subject, as in corp:00u1abc")
		}
		if seen[p.Name] {
			k.bad(path+".name", fmt.Sprintf("%q is the name of another provider", clip(p.Name, 40)), "give each a name of its own")
		}
		seen[p.Name] = true
		kinds := 0
		if o := p.OIDC; o != nil {
			kinds++
			k.issuer(path+".oidc.issuer", o.Issuer)
			k.required(path+".oidc.client_id", o.ClientID)
			k.secret(path+".oidc.client_secret", o.ClientSecret, false)
		}
		if w := p.Workload; w != nil {
			kinds++
			k.issuer(path+".workload.issuer", w.Issuer)
			k.required(path+".workload.audience", w.Audience)
			if !strings.HasPrefix(w.Subject, "claims.") {
				k.bad(path+".workload.subject", "this is not a claim", "write claims.NAME, as in claims.sub")
			}
		}
		if l := p.Local; l != nil {
			kinds++
			k.localUsers(path+".local.users", l.Users)
		}
		if kinds != 1 {
			k.bad(path, fmt.Sprintf("a provider is of exactly one kind, this one of %d", kinds), "write one of oidc, workload and local")
		}
	}
}

func (k *checker) localUsers(path string, users []LocalUser) {
	if len(users) == 0 {
		k.bad(path, "nobody is in it", "write users: [{ name: ada, password: { env: ADA_PW }, groups: [engineers] }]")
	}
	seen := map[string]bool{}
	for i, u := range users {
		at := fmt.Sprintf("%s[%d]", path, i)
		k.required(at+".name", u.Name)
		if seen[u.Name] {
			k.bad(at+".name", fmt.Sprintf("%q is in the list twice", clip(u.Name, 40)), "")
		}
		seen[u.Name] = true
		k.secret(at+".password", u.Password, true)
	}
}

func (k *checker) issuer(path, issuer string) {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		k.bad(path, "this is not the address of an issuer", "write https://…, exactly as the issuer's tokens say it")
	case u.Scheme == "http" && !Loopback(net.JoinHostPort(u.Hostname(), "0")):
		k.bad(path, "an issuer on another machine is reached by https only", "write https://…")
	}
}

func (k *checker) required(path, value string) {
	if strings.TrimSpace(value) == "" {
		k.bad(path, "this is missing", "")
	}
}

func (k *checker) secret(path string, s Secret, needed bool) {
	set := 0
	for _, v := range []string{s.Env, s.File, s.Value} {
		if v != "" {
			set++
		}
	}
	if set > 1 || (set == 0 && needed) {
		k.bad(path, "a secret is in exactly one place", "write { env: NAME } or { file: PATH }; for development also { value: … }")
	}
}

// plainName: what stands in file names, subjects and connection strings.
func plainName(s string) bool {
	return s != "" && len(s) <= 63 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	})
}

var tlsModes = []string{"verify-full", "verify-ca", "require", "off"}

func (k *checker) targets() {
	for _, name := range slices.Sorted(maps.Keys(k.c.Targets)) {
		path := "targets." + name
		if !plainName(name) {
			k.bad(path, "a target's name has letters, digits, -, _ and . only", "clients write it as the name of the database")
		}
		p, host, cluster, service := k.c.Targets[name].Postgres, k.c.Targets[name].SSH, k.c.Targets[name].Kubernetes, k.c.Targets[name].HTTP
		spoken := 0
		for _, has := range []bool{p != nil, host != nil, cluster != nil, service != nil} {
			if has {
				spoken++
			}
		}
		switch {
		case spoken == 0:
			k.bad(path, "the target has no protocol", "write postgres: { address: …, database: …, user: … }, ssh: { address: …, user: …, key: …, host_keys: … }, kubernetes: { address: …, ca: …, token: … } or http: { address: https://…, token: … }")
			continue
		case spoken > 1:
			k.bad(path, "the target has more than one protocol", "make a target for each")
			continue
		case cluster != nil:
			k.kubernetesTarget(path+".kubernetes", cluster)
			continue
		case host != nil:
			k.sshTarget(path+".ssh", host)
			continue
		case service != nil:
			k.httpTarget(path+".http", service)
			continue
		}
		path += ".postgres"
		for key, value := range map[string]string{"address": p.Address, "database": p.Database, "user": p.User} {
			if k.c.unset[path+"."+key] != "" {
				continue
			}
			if k.required(path+"."+key, value); key == "address" && value != "" {
				k.address(path+".address", value)
			}
		}
		k.secret(path+".password", p.Password, false)
		k.targetTLS(path, p)
		for i, f := range p.Functions {
			if f == "" || len(f) > 127 || strings.ContainsAny(f, "()* ?\"'") || strings.Count(f, ".") > 1 {
				k.bad(fmt.Sprintf("%s.functions[%d]", path, i), fmt.Sprintf("%q is not a function", clip(f, 60)), "write price_of or public.price_of, without arguments")
			}
		}
		if p.MaxConnections < 1 || p.MaxConnections > 100_000 {
			k.bad(path+".max_connections", "out of range", "write a number from 1 to 100000")
		}
	}
}

func (k *checker) targetTLS(path string, p *PostgresTarget) {
	if !slices.Contains(tlsModes, p.TLS) {
		hint := "known are " + strings.Join(tlsModes, ", ")
		switch hit := policy.Closest(p.TLS, tlsModes); {
		case hit != "":
			hint = "did you mean " + hit + "?"
		case p.TLS == "disable" || p.TLS == "none" || p.TLS == "false":
			hint = "did you mean off?"
		case p.TLS == "prefer" || p.TLS == "allow":
			hint = "doorward never falls back to plain text: write " + strings.Join(tlsModes, ", ")
		}
		k.bad(path+".tls", fmt.Sprintf("%q is not a TLS mode", clip(p.TLS, 40)), hint)
	}
	if (p.ClientCert == "") != (p.ClientKey == "") {
		k.bad(path+".client_cert", "a client certificate comes with its key", "set client_cert and client_key, or neither")
	}
	if p.TLS == "off" && (p.CA != "" || p.ClientCert != "") {
		k.bad(path+".tls", "with tls: off, ca and client_cert mean nothing", "remove them, or write verify-full")
	}
}

// names checks that rules and masking speak of targets and providers that exist.
func (k *checker) names() {
	names := slices.Sorted(maps.Keys(k.c.Targets))
	k.hostsOnce(names)
	known := func(path, pattern string) {
		for _, n := range names {
			if policy.Glob(pattern, n) {
				return
			}
		}
		if pattern == "*" || pattern == "" {
			return // for whatever targets will come; empty is told elsewhere
		}
		hint := "there is no target at all"
		if len(names) > 0 {
			hint = "targets are " + strings.Join(names, ", ")
			if hit := policy.Closest(pattern, names); hit != "" {
				hint = "did you mean " + hit + "?"
			}
		}
		k.bad(path, fmt.Sprintf("there is no target %q", clip(pattern, 60)), hint)
	}
	var providers []string
	for _, p := range k.c.Identity.Providers {
		providers = append(providers, p.Name)
	}
	for i, r := range k.c.Policy.Rules {
		for j, t := range r.Targets {
			known(fmt.Sprintf("policy.rules[%d].targets[%d]", i, j), t)
		}
		for j, p := range r.Who.Providers {
			if !slices.ContainsFunc(providers, func(n string) bool { return policy.Glob(p, n) }) {
				hint := "providers are " + strings.Join(providers, ", ")
				if hit := policy.Closest(p, providers); hit != "" {
					hint = "did you mean " + hit + "?"
				}
				k.bad(fmt.Sprintf("policy.rules[%d].who.providers[%d]", i, j), fmt.Sprintf("there is no provider %q", clip(p, 60)), hint)
			}
		}
	}
	for i, r := range k.c.Masking {
		for j, t := range r.Targets {
			known(fmt.Sprintf("masking[%d].targets[%d]", i, j), t)
		}
	}
	for i, t := range k.c.Tests {
		if t.Target == "" || strings.ContainsAny(t.Target, "*?") {
			k.bad(fmt.Sprintf("tests[%d].target", i), "a test names one target", "")
			continue
		}
		known(fmt.Sprintf("tests[%d].target", i), t.Target)
	}
}

// masking compiles each rule by itself, so that an error has its place.
func (k *checker) masking() {
	key := make([]byte, 32) // only to see whether it compiles
	for i := range k.c.Masking {
		if _, err := mask.Compile(k.c.Masking[i:i+1], key); err != nil {
			k.bad(fmt.Sprintf("masking[%d]", i), strings.TrimPrefix(err.Error(), "masking[0]: "), "")
		}
	}
	if _, err := mask.Compile(k.c.Masking, key); err != nil && len(k.problems) == 0 {
		k.bad("masking", err.Error(), "")
	}
}

func (k *checker) tests() {
	for i, t := range k.c.Tests {
		path := fmt.Sprintf("tests[%d]", i)
		k.testRequest(path, t)
		if t.Expect != "allow" && t.Expect != "review" && t.Expect != "deny" {
			k.bad(path+".expect", fmt.Sprintf("%q is not an outcome", clip(t.Expect, 40)), "write allow, review or deny")
		}
		if t.Rule != "" && !slices.ContainsFunc(k.c.Policy.Rules, func(r policy.Rule) bool { return r.Name == t.Rule }) {
			k.bad(path+".rule", fmt.Sprintf("there is no rule %q", clip(t.Rule, 60)), "")
		}
	}
}
