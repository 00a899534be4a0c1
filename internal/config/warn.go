package config

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/doorward/doorward/internal/policy"
)

// Warnings are things that are right but probably not wanted.
func (c *Config) Warnings() []*Problem {
	var out Problems
	warn := func(path, msg, hint string) { out = append(out, c.where.problem(path, msg, hint)) }
	for _, name := range slices.Sorted(maps.Keys(c.Targets)) {
		p := c.Targets[name].Postgres
		path := "targets." + name
		if host := c.Targets[name].SSH; host != nil && (host.Key.Value != "" || host.Password.Value != "") {
			warn(path+".ssh", "a credential stands in the file", "write { env: NAME } or { file: PATH }")
		}
		if x := c.Targets[name].Kubernetes; x != nil && x.Token.Value != "" {
			warn(path+".kubernetes.token", "a credential stands in the file", "write { env: NAME } or { file: PATH }")
		}
		if x := c.Targets[name].HTTP; x != nil {
			if x.inFile() {
				warn(path+".http", "a credential stands in the file", "write { env: NAME } or { file: PATH }")
			}
			if at, plain := strings.CutPrefix(x.Address, "http://"); plain && c.unset[path+".http.address"] == "" && !Loopback(withPort(at, "80")) {
				warn(path+".http.address", "the way to this service is not encrypted", "write https://")
			}
		}
		if p != nil && p.TLS == "off" && c.unset[path+".postgres.address"] == "" && !Loopback(p.Address) {
			warn(path+".postgres.tls", "the way to this server is not encrypted", "write tls: verify-full")
		}
		if p != nil && p.Password.Value != "" {
			warn(path+".postgres.password", "a password stands in the file", "write { env: NAME } or { file: PATH }")
		}
		if !slices.ContainsFunc(c.Policy.Rules, func(r policy.Rule) bool {
			return r.Then != "deny" && slices.ContainsFunc(r.Targets, func(t string) bool { return policy.Glob(t, name) })
		}) {
			warn(path, "no rule lets anybody do anything here", "write a rule with then: allow or then: review")
		}
	}
	for i, r := range c.Masking {
		if len(r.Fields) > 0 && !c.anyHTTP(r.Targets) {
			warn(fmt.Sprintf("masking[%d].fields", i), "fields are masked in what HTTP targets answer, and this rule is about none", "name columns for databases; for hosts and clusters, values can be detected")
		}
	}
	groups := map[string]bool{"*": true}
	known := len(c.Identity.Providers) > 0
	for _, p := range c.Identity.Providers {
		if p.OIDC != nil {
			known = false // anybody's guess
		}
		if p.Local != nil {
			for _, u := range p.Local.Users {
				for _, g := range u.Groups {
					groups[g] = true
				}
			}
		}
	}
	for i, r := range c.Policy.Rules {
		path := fmt.Sprintf("policy.rules[%d]", i)
		if r.Then == "allow" && r.Limits.Time == 0 && r.Limits.Rows == 0 && r.Limits.Bytes == 0 {
			warn(path, fmt.Sprintf("rule %q allows without any limit", r.Name), "as in limits: { rows: 100000, bytes: 64MiB, time: 30s }")
		}
		for j, g := range r.Reviewers.Groups {
			if known && !groups[g] {
				warn(fmt.Sprintf("%s.reviewers.groups[%d]", path, j), fmt.Sprintf("nobody is in group %q, so nobody could say yes", g), "")
			}
		}
		if r.Reviewers.SelfApproval {
			warn(path+".reviewers.self_approval", fmt.Sprintf("rule %q lets people approve what they or their agents asked for", r.Name), "")
		}
	}
	if host, _, err := net.SplitHostPort(c.Listen.Console); err == nil && c.raw.Review.URL == "" && c.Listen.Host == "" {
		if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
			warn("listen.console", "people are told to look for the console at "+c.Review.URL, "set review.url or listen.host")
		}
	}
	out.sort()
	return out
}

// anyHTTP reports whether one of these targets, or of all where there is no
// list, is an HTTP service.
func (c *Config) anyHTTP(globs []string) bool {
	for name, t := range c.Targets {
		if t.HTTP != nil && (len(globs) == 0 || slices.ContainsFunc(globs, func(g string) bool { return policy.Glob(g, name) })) {
			return true
		}
	}
	return false
}

// withPort gives an address a port where it has none.
func withPort(at, port string) string {
	if _, _, err := net.SplitHostPort(at); err == nil {
		return at
	}
	return net.JoinHostPort(strings.Trim(at, "[]"), port)
}
