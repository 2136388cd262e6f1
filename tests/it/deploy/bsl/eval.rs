//! Statements and expressions, straight from the syntax tree.

use std::collections::BTreeMap;

use tree_sitter::Node;

use super::value::{Value, is_name};
use super::{House, MODULE, Sent, library, parts};

/// An exception of the language: what it says.
pub(super) type Raised = String;
type Scope = BTreeMap<String, Value>;

/// What follows a statement.
enum Flow {
    Next,
    Break,
    Continue,
    Return(Value),
}

/// A procedure or function, and the text it stands in.
#[derive(Clone, Copy)]
struct Function<'t> {
    node: Node<'t>,
    text: &'t str,
    is_exported: bool,
    is_ours: bool,
}

/// The machine that runs the module.
pub(super) struct Machine<'t> {
    pub(super) house: House,
    pub(super) sent: Vec<Sent>,
    pub(super) log: Vec<(String, String)>,
    pub(super) connections: usize,
    pub(super) is_privileged: bool,
    functions: BTreeMap<String, Function<'t>>,
    /// What the exception that is being handled says.
    raised: Option<Raised>,
}

/// Names of the language are the same in capitals.
fn folded(name: &str) -> String {
    name.to_lowercase()
}

impl<'t> Machine<'t> {
    pub(super) fn new(house: House) -> Self {
        Self {
            house,
            sent: Vec::new(),
            log: Vec::new(),
            connections: 0,
            is_privileged: false,
            functions: BTreeMap::new(),
            raised: None,
        }
    }

    /// Takes in what a text defines.
    pub(super) fn load(&mut self, root: Node<'t>, text: &'t str, is_ours: bool) {
        for node in super::all(root) {
            if !matches!(node.kind(), "procedure_definition" | "function_definition") {
                continue;
            }
            let name = words(named(node, "name"), text);
            let is_exported = node.child_by_field_name("export").is_some();
            let function = Function { node, text, is_exported, is_ours };
            let before = self.functions.insert(folded(name), function);
            assert!(before.is_none(), "{name} is defined twice");
        }
    }

    /// The words of the exception that is being handled.
    pub(super) fn raised(&self) -> &str {
        self.raised.as_deref().expect("an exception is being handled")
    }

    pub(super) fn call(&mut self, name: &str, given: Vec<Value>) -> Result<Value, Raised> {
        let given = given.into_iter().map(Some).collect();
        self.call_function(*self.functions.get(&folded(name)).expect(name), given)
    }

    fn call_function(
        &mut self,
        function: Function<'t>,
        given: Vec<Option<Value>>,
    ) -> Result<Value, Raised> {
        let Function { node, text, .. } = function;
        let name = words(named(node, "name"), text);
        let parameters = parts(named(node, "parameters"));
        assert!(given.len() <= parameters.len(), "{name} is given too much");
        let mut given = given.into_iter();
        let mut scope = Scope::new();
        for parameter in parameters {
            // Without it an assignment would reach the caller's variable.
            assert!(parameter.child_by_field_name("val").is_some(), "{name}: say Знач");
            let own = words(named(parameter, "name"), text);
            let default = parameter.child_by_field_name("def");
            let value = match (given.next().flatten(), default) {
                (Some(value), _) => value,
                (None, Some(default)) => literal(default, text),
                (None, None) => panic!("{name} is not given {own}"),
            };
            scope.insert(folded(own), value);
        }
        let mut frame = Frame { machine: self, text, is_ours: function.is_ours, scope };
        match frame.statements(&statements_of(node))? {
            Flow::Return(value) => Ok(value),
            _ => Ok(Value::Undefined),
        }
    }
}

fn named<'t>(node: Node<'t>, field: &str) -> Node<'t> {
    node.child_by_field_name(field).unwrap_or_else(|| panic!("{} without {field}", node.kind()))
}

fn words<'t>(node: Node<'_>, text: &'t str) -> &'t str {
    text.get(node.byte_range()).expect("a node is within its text")
}

fn is_statement(node: &Node<'_>) -> bool {
    node.kind().ends_with("_statement")
}

fn statements_of(node: Node<'_>) -> Vec<Node<'_>> {
    parts(node).into_iter().filter(is_statement).collect()
}

fn expressions_of(node: Node<'_>) -> Vec<Node<'_>> {
    parts(node).into_iter().filter(|part| part.kind() == "expression").collect()
}

/// A text, number, date, `Истина`, `Ложь` or `Неопределено`.
fn literal(node: Node<'_>, text: &str) -> Value {
    let said = words(node, text);
    match node.kind() {
        "string" => {
            let lines = parts(node).into_iter().filter(|part| part.kind() == "string_content");
            let lines: Vec<&str> = lines.map(|line| words(line, text)).collect();
            Value::Text(lines.join("\n").replace("\"\"", "\""))
        }
        "number" => Value::number(said),
        "date" => library::date(said.trim_matches('\'')).expect("a date"),
        "boolean" => Value::Bool(folded(said) == "истина"),
        "UNDEFINED_KEYWORD" => Value::Undefined,
        other => panic!("{other} as a literal"),
    }
}

/// One call of a procedure or function.
struct Frame<'a, 't> {
    machine: &'a mut Machine<'t>,
    text: &'t str,
    is_ours: bool,
    scope: Scope,
}

impl<'t> Frame<'_, 't> {
    fn words(&self, node: Node<'t>) -> &'t str {
        words(node, self.text)
    }

    fn statements(&mut self, nodes: &[Node<'t>]) -> Result<Flow, Raised> {
        for node in nodes {
            match self.statement(*node)? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, node: Node<'t>) -> Result<Flow, Raised> {
        match node.kind() {
            "assignment_statement" => {
                let value = self.value(named(node, "right"))?;
                self.assign(named(node, "left"), value)?;
            }
            "call_statement" => {
                self.value(parts(node)[0])?;
            }
            "return_statement" => {
                let result = expressions_of(node).first().map(|result| self.value(*result));
                return Ok(Flow::Return(result.transpose()?.unwrap_or(Value::Undefined)));
            }
            "if_statement" => return self.choose(node),
            "while_statement" => {
                while self.value(expressions_of(node)[0])?.as_bool() {
                    match self.statements(&statements_of(node))? {
                        Flow::Break => break,
                        Flow::Return(value) => return Ok(Flow::Return(value)),
                        Flow::Next | Flow::Continue => {}
                    }
                }
            }
            "for_each_statement" => return self.each(node),
            "try_statement" => return self.attempt(node),
            "rise_error_statement" => {
                return Err(self.value(expressions_of(node)[0])?.shown());
            }
            "break_statement" => return Ok(Flow::Break),
            "continue_statement" => return Ok(Flow::Continue),
            other => panic!("line {}: {other}", node.start_position().row + 1),
        }
        Ok(Flow::Next)
    }

    fn choose(&mut self, node: Node<'t>) -> Result<Flow, Raised> {
        if self.value(expressions_of(node)[0])?.as_bool() {
            return self.statements(&statements_of(node));
        }
        for clause in parts(node) {
            let is_chosen = match clause.kind() {
                "elseif_clause" => self.value(expressions_of(clause)[0])?.as_bool(),
                kind => kind == "else_clause",
            };
            if is_chosen {
                return self.statements(&statements_of(clause));
            }
        }
        Ok(Flow::Next)
    }

    fn each(&mut self, node: Node<'t>) -> Result<Flow, Raised> {
        let Value::Array(values) = self.value(expressions_of(node)[0])? else {
            panic!("line {}: only arrays are gone through", node.start_position().row + 1)
        };
        let variable = parts(node).into_iter().find(|part| part.kind() == "identifier");
        let variable = folded(self.words(variable.expect("a variable")));
        let values = values.borrow().clone();
        for value in values {
            self.scope.insert(variable.clone(), value);
            match self.statements(&statements_of(node))? {
                Flow::Break => break,
                Flow::Return(value) => return Ok(Flow::Return(value)),
                Flow::Next | Flow::Continue => {}
            }
        }
        Ok(Flow::Next)
    }

    fn attempt(&mut self, node: Node<'t>) -> Result<Flow, Raised> {
        let nodes = parts(node);
        let except = nodes.iter().position(|part| part.kind() == "EXCEPT_KEYWORD").expect("it");
        let (tried, handler) = nodes.split_at(except);
        let only = |nodes: &[Node<'t>]| -> Vec<Node<'t>> {
            nodes.iter().copied().filter(is_statement).collect()
        };
        self.statements(&only(tried)).or_else(|raised| {
            let before = self.machine.raised.replace(raised);
            let flow = self.statements(&only(handler));
            self.machine.raised = before;
            flow
        })
    }

    fn assign(&mut self, node: Node<'t>, value: Value) -> Result<(), Raised> {
        if node.kind() == "identifier" {
            self.scope.insert(folded(self.words(node)), value);
            return Ok(());
        }
        let steps = parts(node);
        let (base, last) = (self.value(steps[0])?, steps[1]);
        let Value::Structure(fields) = base else { panic!("a field of {}", base.type_name()) };
        assert_eq!(last.kind(), "property", "only fields are assigned");
        let name = folded(self.words(last));
        let mut fields = fields.borrow_mut();
        let field = fields.iter_mut().find(|(known, _)| folded(known) == name);
        field.unwrap_or_else(|| panic!("there is no field {name}")).1 = value;
        Ok(())
    }

    fn value(&mut self, node: Node<'t>) -> Result<Value, Raised> {
        match node.kind() {
            "expression" | "parenthesized_expression" | "const_expression" | "index" => {
                self.value(parts(node)[0])
            }
            "identifier" => Ok(self.variable(self.words(node))),
            "unary_expression" => {
                let value = self.value(named(node, "argument"))?;
                Ok(match self.words(named(node, "operator")) {
                    "-" => Value::Number(-value.as_hundredths()),
                    not => {
                        assert_eq!(folded(not), "не");
                        Value::Bool(!value.as_bool())
                    }
                })
            }
            "binary_expression" => self.combined(node),
            "ternary_expression" => {
                let yes = self.value(named(node, "condition"))?.as_bool();
                self.value(named(node, if yes { "consequence" } else { "alternative" }))
            }
            "new_expression" => {
                let given = node.child_by_field_name("arguments");
                let given = given.map(|given| self.arguments(given)).transpose()?;
                let kind = self.words(named(node, "type"));
                Ok(self.machine.make(kind, given.unwrap_or_default()))
            }
            "method_call" => self.function(node),
            "access" | "property_access" | "call_expression" => self.access(node),
            _ => Ok(literal(node, self.text)),
        }
    }

    fn variable(&self, name: &str) -> Value {
        match self.scope.get(&folded(name)) {
            Some(value) => value.clone(),
            None if library::is_global(name) || name == MODULE => Value::text_word(name),
            None => panic!("{name} has no value"),
        }
    }

    fn combined(&mut self, node: Node<'t>) -> Result<Value, Raised> {
        let operator = folded(self.words(named(node, "operator")));
        let left = self.value(named(node, "left"))?;
        // The second condition is looked at only where it matters.
        match operator.as_str() {
            "и" if !left.as_bool() => return Ok(Value::Bool(false)),
            "или" if left.as_bool() => return Ok(Value::Bool(true)),
            _ => {}
        }
        let right = self.value(named(node, "right"))?;
        Ok(match operator.as_str() {
            "и" | "или" => Value::Bool(right.as_bool()),
            "=" => Value::Bool(left.equals(&right)),
            "<>" => Value::Bool(!left.equals(&right)),
            ">" => Value::Bool(left.as_hundredths() > right.as_hundredths()),
            "<" => Value::Bool(left.as_hundredths() < right.as_hundredths()),
            ">=" => Value::Bool(left.as_hundredths() >= right.as_hundredths()),
            "<=" => Value::Bool(left.as_hundredths() <= right.as_hundredths()),
            "-" => Value::Number(left.as_hundredths() - right.as_hundredths()),
            "+" => match &left {
                Value::Text(text) => Value::Text(format!("{text}{}", right.shown())),
                _ => Value::Number(left.as_hundredths() + right.as_hundredths()),
            },
            other => panic!("{other} is not known"),
        })
    }

    /// What is given to a call; `None` for what is left out.
    fn arguments(&mut self, node: Node<'t>) -> Result<Vec<Option<Value>>, Raised> {
        let (mut given, mut is_due) = (Vec::new(), false);
        let mut cursor = node.walk();
        for part in node.children(&mut cursor) {
            match part.kind() {
                "expression" => {
                    given.push(Some(self.value(part)?));
                    is_due = true;
                }
                "," | "omitted_argument" if is_due => is_due = false,
                "omitted_argument" => given.push(None),
                _ => {}
            }
        }
        Ok(given)
    }

    /// A function of the module or of the platform.
    fn function(&mut self, node: Node<'t>) -> Result<Value, Raised> {
        let name = self.words(named(node, "name"));
        let given = self.arguments(named(node, "arguments"))?;
        match self.machine.functions.get(&folded(name)).copied() {
            Some(function) if function.is_ours == self.is_ours => {
                self.machine.call_function(function, given)
            }
            _ => self.machine.platform(name, given),
        }
    }

    fn access(&mut self, node: Node<'t>) -> Result<Value, Raised> {
        let steps = parts(node);
        let base = self.value(steps[0])?;
        let Some(last) = steps.get(1).copied() else { return Ok(base) };
        match last.kind() {
            "property" => Ok(library::field(&base, self.words(last))),
            "index" => {
                let at = self.value(last)?;
                Ok(library::entry(&base, &at))
            }
            "method_call" => {
                let name = self.words(named(last, "name"));
                let given = self.arguments(named(last, "arguments"))?;
                if matches!(&base, Value::Word(word) if word == MODULE) {
                    let function = self.machine.functions.get(&folded(name)).copied();
                    let function = function.unwrap_or_else(|| panic!("{MODULE} has no {name}"));
                    assert!(function.is_exported, "{name} is not exported");
                    return self.machine.call_function(function, given);
                }
                self.machine.method(&base, name, given)
            }
            other => panic!("{other} behind a point"),
        }
    }
}

impl Value {
    /// A name of the global context.
    fn text_word(name: &str) -> Self {
        assert!(is_name(name), "{name}");
        Self::Word(name.to_owned())
    }
}
