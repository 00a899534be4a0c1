package postgres

import (
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward"
)

// The corpus's standard policies, by hand, over an effect.

func judgeP1(e *doorward.Effect) string {
	if e.ReadOnly() && !e.Traits.Has(doorward.TraitLocks) && !lifts(e) {
		return "allow"
	}
	return "deny"
}

func lifts(e *doorward.Effect) bool {
	return slices.ContainsFunc(e.Objects, func(o doorward.Object) bool { return o.Kind == "limit" })
}

func judgeP2(e *doorward.Effect) string {
	switch {
	case lifts(e), !e.Complete || e.Refuse != "" || e.Verbs.Has(doorward.VerbAdmin|doorward.VerbUnknown):
		return "deny"
	case e.Verbs.Has(doorward.VerbDefine | doorward.VerbGrant | doorward.VerbExecute),
		e.Traits.Has(doorward.TraitUnbounded | doorward.TraitIrreversible | doorward.TraitLeaves | doorward.TraitLocks),
		e.Bound > 100:
		return "review"
	}
	return "allow"
}

func judgeP3(e *doorward.Effect) string {
	switch e.MaskUse {
	case doorward.MaskOther:
		return "deny"
	case doorward.MaskPlain:
		return "masked"
	}
	return "allow"
}

var listedP4 = []string{"public.customers", "public.orders", "public.products", "public.price_of",
	"information_schema.tables", "information_schema.columns", "information_schema.views"}

func judgeP4(e *doorward.Effect) string {
	for _, o := range e.Objects {
		switch o.Kind {
		case "table", "view", "matview", "foreign", "sequence", "catalog", "function":
		default:
			continue
		}
		if slices.Contains(listedP4, o.Name) {
			continue
		}
		if strings.HasPrefix(o.Name, "pg_catalog.") && slices.Contains([]string{"pg_class", "pg_namespace", "pg_attribute", "pg_attrdef", "pg_type", "pg_index", "pg_constraint", "pg_description"}, o.Name[11:]) {
			continue
		}
		return "deny"
	}
	return "allow"
}

// judge gives the strictest outcome of several policies.
func judge(policies []string, e *doorward.Effect) string {
	rank := []string{"allow", "masked", "review", "deny"}
	worst := 0
	apply := func(o string) { worst = max(worst, slices.Index(rank, o)) }
	for _, p := range policies {
		switch p {
		case "P1":
			apply(judgeP1(e))
		case "P2":
			apply(judgeP2(e))
		case "P3":
			apply(judgeP3(e))
		case "P4":
			apply(judgeP4(e))
		}
	}
	if !slices.Contains(policies, "P2") {
		apply(judgeP1(e))
	}
	return rank[worst]
}

func maskCustomers(schema, table, column string) string {
	if table == "customers" && schema == "public" {
		switch column {
		case "email", "ssn", "card":
			return "customers." + column
		}
	}
	return ""
}

func maskLeak(schema, table, column string) string {
	if table == "customers" && schema == "public" {
		switch column {
		case "name", "email", "ssn", "phone", "card", "dob", "ip", "notes":
			return "customers." + column
		}
	}
	return ""
}

func ddl(t testing.TB, file string) *Catalog {
	t.Helper()
	c, err := CatalogFromDDL(readFile(t, file))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
