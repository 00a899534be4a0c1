package harness

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
)

// User of the local provider.
type User struct {
	Name     string
	Password string
	Groups   []string
}

// Target is a PostgreSQL behind doorward.
type Target struct {
	Name      string
	Address   string
	Database  string
	User      string
	Password  string
	Functions []string
	Fields    map[string]any // further fields of the target, as the file spells them
}

// Host is a target that is reached by SSH.
type Host struct {
	Name     string
	Address  string
	User     string         // account when the client names none
	Users    []string       // further accounts that a client may name
	Key      []byte         // PEM of the key that doorward signs in with; nil: Fields say how
	HostKeys []string       // pinned
	Fields   map[string]any // further fields of the target, as the file spells them
}

// Cluster is a target that is the API server of a Kubernetes cluster.
type Cluster struct {
	Name    string
	Address string
	CA      string         // PEM file
	Token   string         // that doorward signs in with; "": Fields say how
	Fields  map[string]any // further fields of the target, as the file spells them
}

// Service is a target that is an HTTP service.
type Service struct {
	Name    string
	Address string         // http://host:port or https://host:port
	Hosts   []string       // names that clients reach it by
	Fields  map[string]any // further fields of the target, as the file spells them
}

// Listeners are the addresses that a doorward process accepts connections at.
type Listeners struct{ Console, Postgres, SSH, Kubernetes, HTTP string }

// Config of a doorward process.
type Config struct {
	Users    []User
	Targets  []Target
	Hosts    []Host
	Clusters []Cluster
	Services []Service
	Rules    []any // policy.rules
	Masking  []any
	Wait     time.Duration  // review.wait
	Fields   map[string]any // further top-level fields, as the file spells them
	Plain    bool           // take credentials without TLS, too: everything is on loopback
	State    string         // folder for state; "": one of its own, removed with the process
}

// YAML is the configuration file for these listeners and this state folder.
// Without hosts there is no listener for SSH, and without clusters or services
// none for them.
func (c *Config) YAML(at Listeners, state string) ([]byte, error) {
	var users []any
	for _, u := range c.Users {
		users = append(users, map[string]any{"name": u.Name, "password": map[string]any{"value": u.Password}, "groups": u.Groups})
	}
	targets := map[string]any{}
	for _, t := range c.Targets {
		pg := map[string]any{"address": t.Address, "database": t.Database, "user": t.User, "password": map[string]any{"value": t.Password}, "tls": "off"}
		if len(t.Functions) > 0 {
			pg["functions"] = t.Functions
		}
		maps.Copy(pg, t.Fields)
		targets[t.Name] = map[string]any{"postgres": pg}
	}
	for _, h := range c.Hosts {
		host := map[string]any{"address": h.Address, "user": h.User, "host_keys": h.HostKeys}
		if len(h.Users) > 0 {
			host["users"] = h.Users
		}
		if h.Key != nil {
			host["key"] = map[string]any{"value": string(h.Key)}
		}
		maps.Copy(host, h.Fields)
		targets[h.Name] = map[string]any{"ssh": host}
	}
	for _, k := range c.Clusters {
		cluster := map[string]any{"address": k.Address, "ca": k.CA}
		if k.Token != "" {
			cluster["token"] = map[string]any{"value": k.Token}
		}
		maps.Copy(cluster, k.Fields)
		targets[k.Name] = map[string]any{"kubernetes": cluster}
	}
	for _, v := range c.Services {
		service := map[string]any{"address": v.Address}
		if len(v.Hosts) > 0 {
			service["hosts"] = v.Hosts
		}
		maps.Copy(service, v.Fields)
		targets[v.Name] = map[string]any{"http": service}
	}
	listen := map[string]any{"console": at.Console, "postgres": at.Postgres}
	if len(c.Hosts) > 0 {
		listen["ssh"] = at.SSH
	}
	if len(c.Clusters) > 0 {
		listen["kubernetes"] = at.Kubernetes
	}
	if len(c.Services) > 0 {
		listen["http"] = at.HTTP
	}
	if c.Plain {
		listen["plaintext_on_loopback"] = true
	}
	doc := map[string]any{
		"listen":     listen,
		"store":      "sqlite://" + filepath.Join(state, "state.db"),
		"recordings": "file://" + filepath.Join(state, "tapes"),
		"ledger":     filepath.Join(state, "ledger"),
		"identity":   map[string]any{"providers": []any{map[string]any{"name": "local", "local": map[string]any{"users": users}}}},
		"targets":    targets,
		"policy":     map[string]any{"rules": c.Rules},
		"review":     map[string]any{"wait": c.Wait.String()},
	}
	if len(c.Masking) > 0 {
		doc["masking"] = c.Masking
	}
	maps.Copy(doc, c.Fields)
	return yaml.Marshal(doc)
}

// Policies is what policy files say, without the targets they say it for.
type Policies struct {
	Rules     []map[string]any
	Masking   []map[string]any
	Functions []string // of the files' first target that lists some
	Groups    []string // every group that a rule names, as requester
	Reviewers []string // every group that may review
}

// LoadPolicies reads and joins policy files: a rule that stands in several
// is taken once.
func LoadPolicies(files ...string) (*Policies, error) {
	out := &Policies{}
	seen := map[string]bool{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		var doc struct {
			Policy struct {
				Rules []map[string]any `yaml:"rules"`
			} `yaml:"policy"`
			Masking []map[string]any          `yaml:"masking"`
			Targets map[string]map[string]any `yaml:"targets"`
		}
		if err := yaml.Unmarshal(b, &doc); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		for _, r := range doc.Policy.Rules {
			key := fmt.Sprint(r)
			if !seen[key] {
				seen[key] = true
				out.Rules = append(out.Rules, r)
			}
			out.Groups = append(out.Groups, words(r["who"], "groups")...)
			out.Reviewers = append(out.Reviewers, words(r["reviewers"], "groups")...)
		}
		for _, m := range doc.Masking {
			key := "mask " + fmt.Sprint(m)
			if !seen[key] {
				seen[key] = true
				out.Masking = append(out.Masking, m)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(doc.Targets)) {
			if fs := words(doc.Targets[name]["postgres"], "functions"); len(fs) > 0 {
				out.Functions = append(out.Functions, fs...)
			}
		}
	}
	for _, l := range []*[]string{&out.Functions, &out.Groups, &out.Reviewers} {
		slices.Sort(*l)
		*l = slices.Compact(*l)
	}
	return out, nil
}

func words(v any, key string) []string {
	m, _ := v.(map[string]any)
	l, _ := m[key].([]any)
	var out []string
	for _, x := range l {
		out = append(out, fmt.Sprint(x))
	}
	return out
}

// For gives the rules and masking entries, said for these targets, with
// names that no other set has.
func (p *Policies) For(set string, targets []string) (rules, masking []any) {
	for _, r := range p.Rules {
		c := maps.Clone(r)
		c["name"] = fmt.Sprintf("%s-%v", set, r["name"])
		c["targets"] = targets
		rules = append(rules, c)
	}
	for _, m := range p.Masking {
		c := maps.Clone(m)
		c["targets"] = targets
		masking = append(masking, c)
	}
	return rules, masking
}
