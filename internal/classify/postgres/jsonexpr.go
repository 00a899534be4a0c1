package postgres

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// jsonExpr reads the SQL/JSON expressions. Servers before 16 know some of
// them as calls of functions, so that a function of that name counts.
func (a *analyzer) jsonExpr(n *pg.Node, sc *scope) value {
	switch x := n.GetNode().(type) {
	case *pg.Node_JsonFuncExpr:
		a.jsonNamed("json_exists", "json_query", "json_value")
		j := x.JsonFuncExpr
		v := a.jsonValue(j.GetContextItem(), sc)
		v = merge(v, a.consume(j.GetPathspec(), sc), a.consumeAll(j.GetPassing(), sc))
		a.jsonOutput(j.GetOutput())
		return merge(v, a.jsonBehavior(j.GetOnEmpty(), sc), a.jsonBehavior(j.GetOnError(), sc))
	case *pg.Node_JsonValueExpr:
		return a.jsonValue(x.JsonValueExpr, sc)
	case *pg.Node_JsonArgument:
		return a.jsonValue(x.JsonArgument.GetVal(), sc)
	case *pg.Node_JsonParseExpr:
		a.jsonNamed("json")
		a.jsonOutput(x.JsonParseExpr.GetOutput())
		return a.jsonValue(x.JsonParseExpr.GetExpr(), sc)
	case *pg.Node_JsonScalarExpr:
		a.jsonNamed("json_scalar")
		a.jsonOutput(x.JsonScalarExpr.GetOutput())
		return a.consume(x.JsonScalarExpr.GetExpr(), sc)
	case *pg.Node_JsonSerializeExpr:
		a.jsonNamed("json_serialize")
		a.jsonOutput(x.JsonSerializeExpr.GetOutput())
		return a.jsonValue(x.JsonSerializeExpr.GetExpr(), sc)
	case *pg.Node_JsonObjectConstructor:
		a.jsonNamed("json_object")
		a.jsonOutput(x.JsonObjectConstructor.GetOutput())
		return a.consumeAll(x.JsonObjectConstructor.GetExprs(), sc)
	case *pg.Node_JsonArrayConstructor:
		a.jsonNamed("json_array")
		a.jsonOutput(x.JsonArrayConstructor.GetOutput())
		return a.consumeAll(x.JsonArrayConstructor.GetExprs(), sc)
	case *pg.Node_JsonArrayQueryConstructor:
		a.jsonNamed("json_array")
		a.jsonOutput(x.JsonArrayQueryConstructor.GetOutput())
		r := a.body(x.JsonArrayQueryConstructor.GetQuery(), sc)
		var v value
		for _, c := range r.cols {
			v = merge(v, a.use(c.value))
		}
		return v
	case *pg.Node_JsonObjectAgg:
		a.jsonNamed("json_objectagg")
		v := merge(a.consume(x.JsonObjectAgg.GetArg().GetKey(), sc), a.jsonValue(x.JsonObjectAgg.GetArg().GetValue(), sc))
		return merge(v, a.jsonAgg(x.JsonObjectAgg.GetConstructor(), sc))
	case *pg.Node_JsonArrayAgg:
		a.jsonNamed("json_arrayagg")
		v := a.jsonValue(x.JsonArrayAgg.GetArg(), sc)
		return merge(v, a.jsonAgg(x.JsonArrayAgg.GetConstructor(), sc))
	case *pg.Node_JsonKeyValue:
		return merge(a.consume(x.JsonKeyValue.GetKey(), sc), a.jsonValue(x.JsonKeyValue.GetValue(), sc))
	case *pg.Node_JsonIsPredicate:
		return a.consume(x.JsonIsPredicate.GetExpr(), sc)
	}
	a.unsure("this kind of expression is not known to doorward")
	a.unknownTaint()
	return value{}
}

func (a *analyzer) jsonNamed(names ...string) {
	for _, n := range names {
		if len(a.cat.visible("", n)) > 0 {
			a.function("", n)
		}
	}
}

func (a *analyzer) jsonValue(x *pg.JsonValueExpr, sc *scope) value {
	if x == nil {
		return value{}
	}
	return merge(a.consume(x.GetRawExpr(), sc), a.consume(x.GetFormattedExpr(), sc))
}

func (a *analyzer) jsonBehavior(x *pg.JsonBehavior, sc *scope) value {
	if x == nil {
		return value{}
	}
	return a.consume(x.GetExpr(), sc)
}

func (a *analyzer) jsonOutput(x *pg.JsonOutput) {
	if x != nil && x.GetTypeName() != nil {
		a.cast(x.GetTypeName())
	}
}

func (a *analyzer) jsonAgg(x *pg.JsonAggConstructor, sc *scope) value {
	if x == nil {
		return value{}
	}
	a.jsonOutput(x.GetOutput())
	v := a.consume(x.GetAggFilter(), sc)
	a.sort(x.GetAggOrder(), sc, rows{})
	if x.GetOver() != nil {
		a.window(x.GetOver(), sc)
	}
	return v
}
