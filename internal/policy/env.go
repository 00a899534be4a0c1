package policy

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/doorward/doorward"
)

// Bounds of a condition.
const (
	maxExpression = 8 << 10 // bytes of source
	maxCost       = 200_000 // CEL cost units of one evaluation
	maxNesting    = 100     // depth of the parse
)

// A field is one field of one of the variables.
type field struct {
	typ *types.Type
	get func(f *facts) any
}

const (
	typeEffect   = "doorward.Effect"
	typeIdentity = "doorward.Identity"
	typeTarget   = "doorward.Target"
	typeTime     = "doorward.Time"
	typeHTTP     = "doorward.HTTP"
	typeObject   = "doorward.Object"
)

// variables maps the names that conditions use to their types.
var variables = map[string]string{"effect": typeEffect, "identity": typeIdentity, "target": typeTarget, "time": typeTime, "http": typeHTTP}

// fields are the fields of each type.
var fields = map[string]map[string]field{
	typeEffect: {
		"read_only":           {types.BoolType, func(f *facts) any { return f.effect.ReadOnly() }},
		"writes":              {types.BoolType, func(f *facts) any { return f.effect.Writes() }},
		"verbs":               {types.NewListType(types.StringType), func(f *facts) any { return f.effect.Verbs.Names() }},
		"kinds":               {types.NewListType(types.StringType), func(f *facts) any { return notNil(f.effect.Kinds) }},
		"objects":             {types.NewListType(types.NewObjectType(typeObject)), func(f *facts) any { return f.objects() }},
		"commands":            {types.NewListType(types.NewListType(types.StringType)), func(f *facts) any { return words(f.effect.Commands) }},
		"unbounded":           {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitUnbounded) }},
		"mass_read":           {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitMassRead) }},
		"multi_statement":     {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitMulti) }},
		"irreversible":        {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitIrreversible) }},
		"masked":              {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitMasked) }},
		"leaves":              {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitLeaves) }},
		"locks":               {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitLocks) }},
		"deletes_namespace":   {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitDeletesNamespace) }},
		"delete_collection":   {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitDeleteCollection) }},
		"scale_to_zero":       {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitScaleToZero) }},
		"rbac":                {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitRBAC) }},
		"webhook":             {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitWebhook) }},
		"ephemeral_container": {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitEphemeralContainer) }},
		"node_proxy":          {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitNodeProxy) }},
		"token":               {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitToken) }},
		"secret":              {types.BoolType, func(f *facts) any { return f.effect.Traits.Has(doorward.TraitSecret) }},
		"complete":            {types.BoolType, func(f *facts) any { return f.effect.Complete }},
		"bound":               {types.IntType, func(f *facts) any { return f.effect.Bound }},
		"refuse":              {types.StringType, func(f *facts) any { return f.effect.Refuse }},
		"masked_columns":      {types.NewListType(types.StringType), func(f *facts) any { return notNil(f.effect.Masked) }},
	},
	typeIdentity: {
		"name":     {types.StringType, func(f *facts) any { return f.identity.Name }},
		"subject":  {types.StringType, func(f *facts) any { return f.identity.Subject }},
		"person":   {types.BoolType, func(f *facts) any { return f.identity.Agent == "" && !f.identity.Workload }},
		"agent":    {types.StringType, func(f *facts) any { return f.identity.Agent }},
		"run":      {types.StringType, func(f *facts) any { return f.identity.Run }},
		"groups":   {types.NewListType(types.StringType), func(f *facts) any { return notNil(f.identity.Groups) }},
		"provider": {types.StringType, func(f *facts) any { return f.identity.Provider }},
		"workload": {types.BoolType, func(f *facts) any { return f.identity.Workload }},
	},
	typeTarget: {
		"name":     {types.StringType, func(f *facts) any { return f.target }},
		"protocol": {types.StringType, func(f *facts) any { return f.protocol }},
	},
	typeTime: {
		"hour":    {types.IntType, func(f *facts) any { return int64(f.now.UTC().Hour()) }},
		"weekday": {types.StringType, func(f *facts) any { return weekdays[f.now.UTC().Weekday()] }},
		"now":     {types.TimestampType, func(f *facts) any { return f.now.UTC() }},
	},
	typeHTTP: httpFields,
}

var weekdays = [...]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

func words(commands [][]string) [][]string {
	if commands == nil {
		return [][]string{}
	}
	return commands
}

func notNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// facts is what conditions are asked about, for one decision.
type facts struct {
	identity *doorward.Identity
	effect   *doorward.Effect
	target   string
	protocol string
	now      time.Time

	objectList []ref.Val   // made on first use
	act        *activation // made on first use
}

func (f *facts) activation() *activation {
	if f.act == nil {
		f.act = newActivation(f)
	}
	return f.act
}

func (f *facts) objects() []ref.Val {
	if f.objectList == nil {
		f.objectList = make([]ref.Val, len(f.effect.Objects))
		for i := range f.effect.Objects {
			f.objectList[i] = &value{typ: objectType, object: &f.effect.Objects[i]}
		}
	}
	return f.objectList
}

// value is one of our variables, or one object, inside CEL.
type value struct {
	typ    *types.Type
	facts  *facts
	object *doorward.Object
}

var objectType = types.NewObjectType(typeObject)

// ConvertToNative refuses: these values never leave CEL.
func (v *value) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("%s cannot be converted", v.typ)
}

// ConvertToType gives the type itself and nothing else.
func (v *value) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return v.typ
	}
	return types.NewErr("%s cannot be converted to %s", v.typ.TypeName(), t.TypeName())
}

// Equal compares what the value stands for.
func (v *value) Equal(other ref.Val) ref.Val {
	o, ok := other.(*value)
	if !ok {
		return types.False
	}
	if v.object != nil && o.object != nil {
		return types.Bool(*v.object == *o.object)
	}
	return types.Bool(v == o || (v.typ == o.typ && v.facts == o.facts && v.object == nil && o.object == nil))
}

// Type is the value's CEL type.
func (v *value) Type() ref.Type { return v.typ }

// Value is the value itself: field getters take it.
func (v *value) Value() any { return v }

// provider knows our types beside CEL's own.
type provider struct{ *types.Registry }

func (p provider) FindStructType(name string) (*types.Type, bool) {
	if name == typeObject || fields[name] != nil {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Registry.FindStructType(name)
}

func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if names := fieldNames(name); names != nil {
		return names, true
	}
	return p.Registry.FindStructFieldNames(name)
}

func (p provider) FindStructFieldType(name, fieldName string) (*types.FieldType, bool) {
	if name == typeObject {
		return objectField(fieldName)
	}
	if fields[name] == nil {
		return p.Registry.FindStructFieldType(name, fieldName)
	}
	f, ok := fields[name][fieldName]
	if !ok {
		return nil, false
	}
	return &types.FieldType{
		Type:  f.typ,
		IsSet: func(any) bool { return true },
		GetFrom: func(target any) (any, error) {
			v, ok := target.(*value)
			if !ok || v.facts == nil {
				return nil, fmt.Errorf("not a %s", name)
			}
			return f.get(v.facts), nil
		},
	}, true
}

// NewValue refuses: conditions look at what there is, they make nothing of our types.
func (p provider) NewValue(name string, vals map[string]ref.Val) ref.Val {
	if name == typeObject || fields[name] != nil {
		return types.NewErr("%s cannot be made in a condition", name)
	}
	return p.Registry.NewValue(name, vals)
}

func objectField(name string) (*types.FieldType, bool) {
	var typ *types.Type
	var get func(o *doorward.Object) any
	switch name {
	case "kind":
		typ, get = types.StringType, func(o *doorward.Object) any { return o.Kind }
	case "name":
		typ, get = types.StringType, func(o *doorward.Object) any { return o.Name }
	case "verbs":
		typ, get = types.NewListType(types.StringType), func(o *doorward.Object) any { return notNil(o.Verb.Names()) }
	default:
		return nil, false
	}
	return &types.FieldType{
		Type:  typ,
		IsSet: func(any) bool { return true },
		GetFrom: func(target any) (any, error) {
			v, ok := target.(*value)
			if !ok || v.object == nil {
				return nil, fmt.Errorf("not a %s", typeObject)
			}
			return get(v.object), nil
		},
	}, true
}

func fieldNames(typeName string) []string {
	if typeName == typeObject {
		return []string{"kind", "name", "verbs"}
	}
	var names []string
	for n := range fields[typeName] {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// environment is the CEL environment that all conditions are checked in.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	opts := []cel.EnvOption{
		cel.CustomTypeProvider(provider{registry}),
		cel.CustomTypeAdapter(registry),
		cel.ASTValidators(
			cel.ValidateRegexLiterals(),
			cel.ValidateDurationLiterals(),
			cel.ValidateTimestampLiterals(),
			cel.ValidateHomogeneousAggregateLiterals(),
			cel.ValidateComprehensionNestingLimit(3),
		),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ParserRecursionLimit(maxNesting),
		cel.Function("glob", cel.Overload("glob_string_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType,
			cel.BinaryBinding(func(s, pattern ref.Val) ref.Val {
				text, ok1 := s.(types.String)
				glob, ok2 := pattern.(types.String)
				if !ok1 || !ok2 {
					return types.NewErr("glob takes two strings")
				}
				return types.Bool(Glob(string(glob), string(text)))
			}))),
	}
	for name, typ := range variables {
		opts = append(opts, cel.Variable(name, cel.ObjectType(typ)))
	}
	return cel.NewEnv(opts...)
})

// activation gives CEL the variables of one decision.
type activation struct {
	effect, identity, target, time, http value
}

func newActivation(f *facts) *activation {
	return &activation{
		effect:   value{typ: varTypes["effect"], facts: f},
		identity: value{typ: varTypes["identity"], facts: f},
		target:   value{typ: varTypes["target"], facts: f},
		time:     value{typ: varTypes["time"], facts: f},
		http:     value{typ: varTypes["http"], facts: f},
	}
}

var varTypes = func() map[string]*types.Type {
	m := map[string]*types.Type{}
	for name, typ := range variables {
		m[name] = types.NewObjectType(typ)
	}
	return m
}()

// ResolveName gives the variable with this name.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "effect":
		return &a.effect, true
	case "identity":
		return &a.identity, true
	case "target":
		return &a.target, true
	case "time":
		return &a.time, true
	case "http":
		return &a.http, true
	}
	return nil, false
}

// Parent is nil: there is nothing outside of these variables.
func (a *activation) Parent() cel.Activation { return nil }
