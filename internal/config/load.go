package config

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/doorward/doorward/internal/policy"
)

// Load reads and checks one file. The error is [Problems] when the file could
// be read but is wrong; then nothing of it is used.
func Load(path string) (*Config, error) { return LoadFiles(path) }

// LoadFiles reads several files and merges them as [Merge] does.
func LoadFiles(paths ...string) (*Config, error) {
	if len(paths) == 0 {
		return nil, errors.New("no configuration file was named; give one with --config FILE")
	}
	raws := make([]*Config, 0, len(paths))
	for _, path := range paths {
		data, err := readFile(path)
		if err != nil {
			return nil, err
		}
		raw, err := read(path, data)
		if err != nil {
			return nil, err
		}
		raws = append(raws, raw)
	}
	return finish(raws)
}

// Parse reads and checks a configuration that is in memory. The name stands
// for the file in messages.
func Parse(name string, data []byte) (*Config, error) {
	raw, err := read(name, data)
	if err != nil {
		return nil, err
	}
	return finish([]*Config{raw})
}

// Merge makes one configuration of several. Lists (rules, masking, providers,
// tests) are joined, and what is the same in both stands once. Targets are
// joined by name. What is set differently in two of them is an error.
func Merge(configs ...*Config) (*Config, error) {
	if len(configs) == 0 {
		return nil, errors.New("there is no configuration to merge")
	}
	raws := make([]*Config, len(configs))
	for i, c := range configs {
		raws[i] = c.raw
	}
	return finish(raws)
}

// With gives the configuration after a change to what the file says, checked
// again as if the file had said it. The change works on the values before
// defaults, and must replace what it changes rather than write into it.
func (c *Config) With(change func(*Config)) (*Config, error) {
	raw := *c.raw
	raw.Targets = make(map[string]Target, len(c.raw.Targets))
	for name, t := range c.raw.Targets {
		if t.Postgres != nil {
			p := *t.Postgres
			t.Postgres = &p
		}
		if t.SSH != nil {
			p := *t.SSH
			t.SSH = &p
		}
		if t.Kubernetes != nil {
			p := *t.Kubernetes
			t.Kubernetes = &p
		}
		if t.HTTP != nil {
			p := *t.HTTP
			t.HTTP = &p
		}
		raw.Targets[name] = t
	}
	change(&raw)
	return finish([]*Config{&raw})
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, fmt.Errorf("the configuration cannot be read: %s is a folder; name the file in it", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	return data, nil
}

// read decodes without defaults and without looking at what the values mean.
func read(name string, data []byte) (*Config, error) {
	raw := &Config{files: []string{name}}
	where, err := decode(name, data, raw)
	if err != nil {
		return nil, err
	}
	raw.where = where
	return raw, nil
}

// finish merges, fills in defaults, checks and compiles.
func finish(raws []*Config) (*Config, error) {
	raw, problems := merge(raws)
	if len(problems) > 0 {
		return nil, problems
	}
	c := *raw
	c.raw = raw
	c.fill()
	problems = c.check()
	c.Policy.Bound = c.bound()
	compiled, err := policy.Compile(c.Policy)
	if err != nil {
		problems = append(problems, c.policyProblems(err)...)
	}
	if len(problems) > 0 {
		problems.sort()
		return nil, problems
	}
	c.compiled = compiled
	return &c, nil
}

func (c *Config) policyProblems(err error) Problems {
	var es policy.Errors
	if !errors.As(err, &es) {
		return Problems{c.where.problem("policy", err.Error(), "")}
	}
	var out Problems
	for _, e := range es {
		path := fmt.Sprintf("policy.rules[%d]", e.Rule)
		if e.Field != "" {
			path += "." + e.Field
		}
		p := c.where.problem(path, e.Msg, e.Hint)
		if e.Name != "" {
			p.Msg = fmt.Sprintf("rule %q: %s", e.Name, e.Msg)
		}
		out = append(out, p)
	}
	return out
}

// CompiledPolicy is the policy, as [Load] compiled it.
func (c *Config) CompiledPolicy() *policy.Policy { return c.compiled }

// Files are the names of the files that this was read from.
func (c *Config) Files() []string { return c.files }
