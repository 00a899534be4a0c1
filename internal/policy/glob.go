package policy

import "strings"

// Glob reports whether s matches the pattern, in which * stands for any run of
// characters and ? for exactly one byte. Everything else stands for itself.
// It takes at most len(pattern)×len(s) steps.
func Glob(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// patterns is a list of globs, with the plain names apart.
type patterns struct {
	all   bool
	names map[string]bool
	globs []string
}

func newPatterns(list []string) patterns {
	var ps patterns
	for _, p := range list {
		switch {
		case p == "*":
			ps.all = true
		case strings.ContainsAny(p, "*?"):
			ps.globs = append(ps.globs, p)
		default:
			if ps.names == nil {
				ps.names = map[string]bool{}
			}
			ps.names[p] = true
		}
	}
	return ps
}

func (ps *patterns) match(s string) bool {
	if ps.all || ps.names[s] {
		return true
	}
	for _, g := range ps.globs {
		if Glob(g, s) {
			return true
		}
	}
	return false
}

func (ps *patterns) matchAny(list []string) bool {
	for _, s := range list {
		if ps.match(s) {
			return true
		}
	}
	return false
}

// objectPatterns is a list of globs over object names, each with the kind in
// front where it is meant for one kind only: "function:pg_catalog.*".
type objectPatterns struct {
	any    patterns
	byKind map[string]*patterns
}

func newObjectPatterns(list []string) *objectPatterns {
	if len(list) == 0 {
		return nil
	}
	var plain []string
	kinds := map[string][]string{}
	for _, p := range list {
		if kind, name, ok := strings.Cut(p, ":"); ok {
			kinds[kind] = append(kinds[kind], name)
		} else {
			plain = append(plain, p)
		}
	}
	o := &objectPatterns{any: newPatterns(plain)}
	for kind, names := range kinds {
		ps := newPatterns(names)
		if o.byKind == nil {
			o.byKind = map[string]*patterns{}
		}
		o.byKind[kind] = &ps
	}
	return o
}

func (o *objectPatterns) match(kind, name string) bool {
	if o.any.match(name) {
		return true
	}
	ps := o.byKind[kind]
	return ps != nil && ps.match(name)
}
