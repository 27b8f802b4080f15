package mappings

import (
	"reflect"
	"regexp"
	"time"

	"github.com/expr-lang/expr/ast"
)

var (
	stringType = reflect.TypeFor[string]()
	boolType   = reflect.TypeFor[bool]()
	timeType   = reflect.TypeFor[time.Time]()
)

// patcher rewrites a parsed expression: variables become calls that look into the reading, so that nothing is worked out
// which is not used; json.a.b becomes one look-up; operators on values of unknown type become ours.
type patcher struct {
	scope Scope
	src   string
	// payload says that the expression looks into the payload.
	payload bool
	err     *SyntaxError
}

// Visit is called for each node after its children.
func (p *patcher) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		p.identifier(node, n)
	case *ast.MemberNode:
		p.member(node, n)
	case *ast.CallNode:
		p.call(node, n)
	case *ast.BinaryNode:
		p.binary(node, n)
	}
}

// fail keeps the first fault.
func (p *patcher) fail(at ast.Node, text, hint string) {
	if p.err == nil {
		p.err = &SyntaxError{Source: p.src, Offset: byteOffset(p.src, at.Location().From), Text: text, Hint: hint}
	}
}

// replace puts a call of a hidden function in the place of a node, with its type where it is known.
func replace(node *ast.Node, fn string, typ reflect.Type, args ...ast.Node) {
	at := (*node).Location()
	call := &ast.CallNode{Callee: &ast.IdentifierNode{Value: fn}, Arguments: args}
	call.Callee.SetLocation(at)
	for _, a := range args {
		if a.Location().From == 0 {
			a.SetLocation(at)
		}
	}
	if typ != nil {
		call.SetType(typ)
	}
	ast.Patch(node, call)
}

// theReading is the expression's environment: see reading.
func theReading() ast.Node { return &ast.IdentifierNode{Value: "$env"} }

func (p *patcher) identifier(node *ast.Node, n *ast.IdentifierNode) {
	if n.Value == "$env" {
		p.fail(n, "$env is not a name here", "use text, json, topic, bridge or a capture")
		return
	}
	if i := indexOf(p.scope.Names, n.Value); i >= 0 {
		replace(node, fnCapture, stringType, theReading(), &ast.ConstantNode{Value: i})
		return
	}
	switch n.Value {
	case "text":
		p.payload = true
		replace(node, fnText, stringType, theReading())
	case "json":
		p.payload = true
		replace(node, fnJSON, nil, theReading(), &ast.ConstantNode{Value: &jsonPath{}})
	case "topic":
		replace(node, fnTopic, stringType, theReading())
	case "time":
		replace(node, fnTime, stringType, theReading())
	case "bridge":
		ast.Patch(node, &ast.StringNode{Value: p.scope.Bridge})
		(*node).SetType(stringType)
	}
}

// pathOf is the path of a node that looks into the payload's JSON.
func pathOf(node ast.Node) *jsonPath {
	call, ok := node.(*ast.CallNode)
	if !ok || !calls(call, fnJSON) {
		return nil
	}
	return call.Arguments[1].(*ast.ConstantNode).Value.(*jsonPath)
}

func calls(call *ast.CallNode, name string) bool {
	callee, ok := call.Callee.(*ast.IdentifierNode)
	return ok && callee.Value == name
}

func (p *patcher) member(node *ast.Node, n *ast.MemberNode) {
	path := pathOf(n.Node)
	if path == nil {
		return
	}
	var s step
	switch property := n.Property.(type) {
	case *ast.StringNode:
		s = step{key: property.Value, isKey: true}
	case *ast.IntegerNode:
		s = step{index: property.Value}
	case *ast.UnaryNode:
		i, ok := property.Node.(*ast.IntegerNode)
		if !ok || property.Operator != "-" {
			return
		}
		s = step{index: -i.Value}
	default:
		return
	}
	steps := append(append([]step(nil), path.steps...), s)
	replace(node, fnJSON, nil, theReading(), &ast.ConstantNode{Value: &jsonPath{steps}})
}

func (p *patcher) call(node *ast.Node, n *ast.CallNode) {
	callee, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		return
	}
	switch {
	case callee.Value == "now" && len(n.Arguments) == 0:
		replace(node, fnNow, timeType, theReading())
	case callee.Value == "after" && len(n.Arguments) == 2:
		if p.wantsText(n.Arguments[1], "after() takes a text and a label", `as in after(text, "temperature=")`) {
			replace(node, fnAfter, nil, theReading(), n.Arguments[0], n.Arguments[1])
		}
	case callee.Value == "match" && len(n.Arguments) == 2:
		if !p.wantsText(n.Arguments[1], "match() takes a text and a regular expression", "as in match(text, `T=([0-9.]+)`)") {
			return
		}
		pattern := n.Arguments[1]
		if text, ok := pattern.(*ast.StringNode); ok {
			re, err := regexp.Compile(text.Value)
			if err != nil {
				p.fail(text, err.Error(), "see docs/expressions.md for regular expressions")
				return
			}
			at := pattern.Location()
			pattern = &ast.ConstantNode{Value: re}
			pattern.SetLocation(at)
		}
		replace(node, fnMatch, nil, theReading(), n.Arguments[0], pattern)
	}
}

// wantsText reports an argument that cannot be a text.
func (p *patcher) wantsText(n ast.Node, text, hint string) bool {
	if t := n.Type(); t.Kind() != reflect.String && t.Kind() != reflect.Interface {
		p.fail(n, text, hint)
		return false
	}
	return true
}

func (p *patcher) binary(node *ast.Node, n *ast.BinaryNode) {
	if !untyped(n.Left) && !untyped(n.Right) {
		return
	}
	op := &ast.StringNode{Value: n.Operator}
	switch n.Operator {
	case "+", "-", "*", "/", "%", "**", "^":
		replace(node, fnOperate, nil, op, n.Left, n.Right)
	case "<", "<=", ">", ">=":
		replace(node, fnCompare, boolType, op, n.Left, n.Right)
	case "==", "!=":
		replace(node, fnEqual, boolType, op, n.Left, n.Right)
	}
}

// untyped says that a node's type is known only when it runs.
func untyped(n ast.Node) bool {
	if _, isNil := n.(*ast.NilNode); isNil {
		return false
	}
	return n.Type().Kind() == reflect.Interface
}
