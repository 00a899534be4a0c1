package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/doorward/doorward/internal/config"
	"github.com/doorward/doorward/internal/upstream"
)

// reach tries to sign in at a target and read its catalog.
func reach(ctx context.Context, path, name string) error {
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	if t := c.Targets[name]; t.Kubernetes != nil {
		x, err := kubernetesTarget(name, t)
		if err != nil {
			return err
		}
		defer x.cluster.Close()
		return x.cluster.Probe(ctx)
	}
	if t := c.Targets[name]; t.HTTP != nil {
		x, err := httpTarget(name, t)
		if err != nil {
			return err
		}
		defer x.service.Close()
		return x.service.Probe(ctx)
	}
	if t := c.Targets[name]; t.SSH != nil {
		x, err := (&targets{}).sshTarget(name, t)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		return x.host.Probe(ctx)
	}
	_, _, err = snapshot(ctx, path, name)
	return err
}

func snapshot(ctx context.Context, path, name string) (*config.Config, *upstream.Snapshot, error) {
	c, err := config.Load(path)
	if err != nil {
		return nil, nil, err
	}
	t, ok := c.Targets[name]
	if t.SSH != nil {
		return nil, nil, fmt.Errorf("target %q is a host: there is nothing to plan; give its account only what it needs", name)
	}
	if t.Kubernetes != nil {
		return nil, nil, fmt.Errorf("target %q is a cluster: there is nothing to plan; give doorward's account a Role with only what it needs", name)
	}
	if t.HTTP != nil {
		return nil, nil, fmt.Errorf("target %q is a service: there is nothing to plan; give doorward's credential only what it needs", name)
	}
	if !ok || t.Postgres == nil {
		return nil, nil, fmt.Errorf("no target %q in %s", name, path)
	}
	up, err := upstream.NewPostgres(options(name, *t.Postgres))
	if err != nil {
		return nil, nil, err
	}
	cat := upstream.NewCatalog(up)
	defer cat.Close()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	snap, err := cat.Current(ctx)
	return c, snap, err
}

// targetPlan prints the role that a target should give doorward: what the
// policy can ever need and no more. The database is then a second lock.
func targetPlan(ctx context.Context, path, name string) (string, error) {
	c, snap, err := snapshot(ctx, path, name)
	if err != nil {
		return "", err
	}
	masks, err := c.MaskSet(make([]byte, 32)) // names only; no value is masked with it
	if err != nil {
		return "", err
	}
	t := c.Targets[name].Postgres
	writes := c.CompiledPolicy().CouldAnyoneWrite(name)
	var b strings.Builder
	fmt.Fprintf(&b, "-- Least-privilege role for target %s, made by `doorward target plan %s`.\n", name, name)
	fmt.Fprintf(&b, "-- Read it before you run it. The role gets what the policy (version %s) can need.\n", c.CompiledPolicy().Version())
	role := quote(t.User)
	fmt.Fprintf(&b, "CREATE ROLE %s LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT %d;\n", role, max(t.MaxConnections, 1)+2)
	if !writes {
		fmt.Fprintf(&b, "ALTER ROLE %s SET default_transaction_read_only = on;\n", role)
	}
	fmt.Fprintf(&b, "ALTER ROLE %s SET lock_timeout = '10s';\nALTER ROLE %s SET idle_in_transaction_session_timeout = '10min';\n", role, role)
	fmt.Fprintf(&b, "GRANT CONNECT ON DATABASE %s TO %s;\n", quote(t.Database), role)
	schemas := map[string]bool{}
	for _, tab := range snap.Tables() {
		if !schemas[tab.Schema] {
			schemas[tab.Schema] = true
			fmt.Fprintf(&b, "GRANT USAGE ON SCHEMA %s TO %s;\n", quote(tab.Schema), role)
		}
		var plain, masked []string
		for _, col := range tab.Columns {
			if masks.Column(name, tab.Schema, tab.Name, col) != "" {
				masked = append(masked, col)
			} else {
				plain = append(plain, quote(col))
			}
		}
		full := quote(tab.Schema) + "." + quote(tab.Name)
		if len(masked) == 0 {
			fmt.Fprintf(&b, "GRANT SELECT ON %s TO %s;\n", full, role)
		} else {
			fmt.Fprintf(&b, "-- %s: masked %s. Doorward shows them masked, for which it must read them;\n-- leave them out of the grant to keep them away from doorward too.\n", full, strings.Join(masked, ", "))
			fmt.Fprintf(&b, "GRANT SELECT (%s) ON %s TO %s;\n", strings.Join(plain, ", "), full, role)
			for _, m := range masked {
				fmt.Fprintf(&b, "GRANT SELECT (%s) ON %s TO %s; -- optional\n", quote(m), full, role)
			}
		}
		if writes && tab.Kind == "table" {
			fmt.Fprintf(&b, "GRANT INSERT, UPDATE, DELETE ON %s TO %s;\n", full, role)
		}
	}
	for _, f := range slices.Sorted(slices.Values(t.Functions)) {
		fmt.Fprintf(&b, "-- Function %s is listed as free of side effects: grant EXECUTE on the overloads that are.\n", f)
	}
	return b.String(), nil
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
