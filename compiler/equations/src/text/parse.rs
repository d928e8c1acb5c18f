//! Parsing, by recursive descent over tokens.

use super::lex::{Token, tokens};
use super::*;
use crate::data::{
    Affine, Carried, Condition, Distribution, Draw, Ends, Equation, Expr, Index, IndexId, Iterate, Library, Literal,
    Node, Origin, Piece, Program, Read, Role, Scan, SizeKind, SizeName, Sort, Sub, Tensor, TensorId, View,
};
use bdl_dims::Dim;
use std::fmt;

/// Where a text is not a program, and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line and column, from 1.
    pub line: usize,
    pub column: usize,
    pub expected: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: expected {}", self.line, self.column, self.expected)
    }
}

impl std::error::Error for ParseError {}

/// Reads the exact text form.
///
/// Errors: the first place where the text is not a program, or names something that is not declared.
pub fn parse(text: &str) -> Result<Program, ParseError> {
    let place = |at: usize, expected: String| {
        let before = &text[..at.min(text.len())];
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        ParseError {
            line: before.matches('\n').count() + 1,
            column: text[line_start..at].chars().count() + 1,
            expected,
        }
    };
    let tokens = tokens(text).map_err(|(at, expected)| place(at, expected))?;
    let mut parser = Parser { tokens, at: 0, end: text.len(), program: Program::new("") };
    match parser.program() {
        Ok(()) => Ok(parser.program),
        Err(fault) => Err(place(fault.at, fault.expected)),
    }
}

struct Fault {
    at: usize,
    expected: String,
}

type Parsed<T> = Result<T, Fault>;

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    end: usize,
    program: Program,
}

/// The indices in scope.
type Scope<'s> = &'s [Index];

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(t, _)| t)
    }

    fn expected<T>(&self, what: impl Into<String>) -> Parsed<T> {
        let at = self.tokens.get(self.at).map_or(self.end, |(_, at)| *at);
        Err(Fault { at, expected: what.into() })
    }

    fn is_sign(&self, ahead: usize, sign: &str) -> bool {
        matches!(self.tokens.get(self.at + ahead), Some((Token::Sign(s), _)) if *s == sign)
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(0, sign);
        self.at += usize::from(found);
        found
    }

    fn need(&mut self, sign: &str) -> Parsed<()> {
        if self.sign(sign) { Ok(()) } else { self.expected(format!("`{sign}`")) }
    }

    fn is_keyword(&self, wanted: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(w)) if w == wanted)
    }

    fn keyword(&mut self, wanted: &str) -> bool {
        let found = self.is_keyword(wanted);
        self.at += usize::from(found);
        found
    }

    fn need_keyword(&mut self, wanted: &str) -> Parsed<()> {
        if self.keyword(wanted) { Ok(()) } else { self.expected(format!("`{wanted}`")) }
    }

    fn name(&mut self, what: &str) -> Parsed<String> {
        match self.peek() {
            Some(Token::Word(name) | Token::Quoted(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            Some(Token::Number(_, _) | Token::Sign(_) | Token::Origin(_)) | None => self.expected(what),
        }
    }

    fn tensor(&mut self) -> Parsed<TensorId> {
        let start = self.at;
        let name = self.name("the name of a tensor")?;
        match self.program.find(&name) {
            Some(id) => Ok(id),
            None => {
                self.at = start;
                self.expected(format!("a declared tensor, not `{name}`"))
            }
        }
    }

    fn integer(&mut self) -> Parsed<i64> {
        match self.peek() {
            Some(Token::Number(value, true)) if *value < 9e15 => {
                let value = *value as i64;
                self.at += 1;
                Ok(value)
            }
            Some(_) | None => self.expected("a whole number"),
        }
    }

    fn meaning<K: Copy>(&mut self, table: &[(K, &'static str)], what: &str) -> Parsed<K> {
        let start = self.at;
        let name = self.name(what)?;
        match meaning(table, &name) {
            Some(key) => Ok(key),
            None => {
                self.at = start;
                self.expected(what)
            }
        }
    }

    fn origin(&mut self) -> Origin {
        match self.peek() {
            Some(Token::Origin(origin)) => {
                let origin = origin.clone();
                self.at += 1;
                origin
            }
            Some(Token::Word(_) | Token::Quoted(_) | Token::Number(_, _) | Token::Sign(_)) | None => Origin::default(),
        }
    }

    // -------------------------------------------------------------------------------------------- declarations

    fn program(&mut self) -> Parsed<()> {
        self.need_keyword("program")?;
        self.program.name = self.name("the name of the program")?.into();
        // A statement word followed by a name declares; followed by `[` or `=` it is the name of a tensor.
        while self.declaration()? {}
        while self.peek().is_some() {
            if self.statement_word("output") {
                let name = self.name("the name of the output")?;
                self.need("=")?;
                let id = self.tensor()?;
                self.program.outputs.push((name.into(), id));
            } else if self.statement_word("update") {
                let target = self.tensor()?;
                self.need("=")?;
                let value = self.tensor()?;
                self.program.updates.push((target, value));
            } else {
                let node = self.node()?;
                self.program.nodes.push(node);
            }
        }
        Ok(())
    }

    fn statement_word(&mut self, wanted: &str) -> bool {
        let declares = !self.is_sign(1, "[") && !self.is_sign(1, "=");
        declares && self.keyword(wanted)
    }

    fn declaration(&mut self) -> Parsed<bool> {
        if self.statement_word("size") {
            let name = self.name("the name of a size")?;
            const KINDS: [(SizeKind, &str); 4] = [
                (SizeKind::Built, "built"),
                (SizeKind::Batch, "batch"),
                (SizeKind::PerExample, "example"),
                (SizeKind::Step, "step"),
            ];
            let kind = self.meaning(&KINDS, "`built`, `batch`, `example` or `step`")?;
            self.program.sizes.push(SizeName { name: name.into(), kind });
            return Ok(true);
        }
        const ROLES: [(Role, &str); 4] = [
            (Role::Input { per_example: false, one_hot: false }, "input"),
            (Role::Param, "param"),
            (Role::State, "state"),
            (Role::Computed, "value"),
        ];
        for (role, written) in ROLES {
            if !self.statement_word(written) {
                continue;
            }
            let name = self.name("the name of a tensor")?;
            if self.program.find(&name).is_some() {
                return self.expected(format!("another name: `{name}` is declared twice"));
            }
            self.need(":")?;
            let dtype = self.meaning(&DTYPES, "a type: `real`, `f32`, `f64`, `bf16`, `i32` or `bool`")?;
            let mut shape = Vec::new();
            if self.sign("[") {
                while !self.sign("]") {
                    shape.push(self.dim()?);
                    if !self.is_sign(0, "]") {
                        self.need(",")?;
                    }
                }
            }
            let role = match role {
                Role::Input { .. } => {
                    let per_example = self.keyword("per");
                    if per_example {
                        self.need_keyword("example")?;
                    }
                    Role::Input { per_example, one_hot: self.keyword("one_hot") }
                }
                other @ (Role::Param | Role::State | Role::Computed) => other,
            };
            self.program.tensors.push(Tensor { name: name.into(), dtype, shape, role });
            return Ok(true);
        }
        Ok(false)
    }

    // -------------------------------------------------------------------------------------------- nodes

    fn node(&mut self) -> Parsed<Node> {
        if self.statement_word("scan") {
            return self.scan();
        }
        if self.statement_word("iterate") {
            return self.iterate();
        }
        if self.statement_word("draw") {
            let out = self.tensor()?;
            self.need("=")?;
            const DISTRIBUTIONS: [(Distribution, &str); 2] =
                [(Distribution::Normal, "normal"), (Distribution::Uniform, "uniform")];
            let distribution = self.meaning(&DISTRIBUTIONS, "`normal` or `uniform`")?;
            self.need("(")?;
            let Ok(site) = u32::try_from(self.integer()?) else { return self.expected("a number below 2^32") };
            self.need(")")?;
            return Ok(Node::Draw(Draw { out, distribution, site, origin: self.origin() }));
        }
        if self.statement_word("view") {
            let out = self.tensor()?;
            self.need("=")?;
            let input = self.tensor()?;
            return Ok(Node::View(View { out, input, origin: self.origin() }));
        }
        if self.statement_word("sort") {
            let out = self.tensor()?;
            self.need("=")?;
            let input = self.tensor()?;
            let descending = self.statement_word("descending");
            return Ok(Node::Sort(Sort { out, input, descending, origin: self.origin() }));
        }
        if self.statement_word("literal") {
            let out = self.tensor()?;
            self.need("=")?;
            self.need("[")?;
            let mut values = Vec::new();
            while !self.sign("]") {
                values.push(self.constant()?);
                if !self.is_sign(0, "]") {
                    self.need(",")?;
                }
            }
            return Ok(Node::Literal(Literal { out, values, origin: self.origin() }));
        }
        if self.statement_word("library") {
            let out = self.tensor()?;
            self.need("=")?;
            let routine = self.meaning(&ROUTINES, "the name of a library routine")?;
            self.need("(")?;
            let mut inputs = Vec::new();
            while !self.sign(")") {
                inputs.push(self.tensor()?);
                if !self.is_sign(0, ")") {
                    self.need(",")?;
                }
            }
            return Ok(Node::Library(Library { out, routine, inputs, origin: self.origin() }));
        }
        self.equation()
    }

    fn scan(&mut self) -> Parsed<Node> {
        let step = self.name("the name of the step")?.into();
        self.need("<")?;
        let extent = self.dim()?;
        let reversed = self.keyword("reversed");
        let checkpoint = if self.keyword("checkpoint") { Some(self.dim()?) } else { None };
        let ends = if self.keyword("ends") {
            Some(if self.keyword("after") {
                Ends::After(self.tensor()?)
            } else {
                self.need_keyword("when")?;
                let until = self.tensor()?;
                self.need_keyword("as")?;
                Ends::When { until, steps: self.tensor()? }
            })
        } else {
            None
        };
        self.need("{")?;
        let origin = self.origin();
        let carried = self.carried()?;
        let (mut body, mut stacks) = (Vec::new(), Vec::new());
        while !self.sign("}") {
            if self.statement_word("stack") {
                let inside = self.tensor()?;
                self.need_keyword("as")?;
                stacks.push((inside, self.tensor()?));
            } else {
                body.push(self.node()?);
            }
        }
        Ok(Node::Scan(Scan { step, extent, reversed, carried, body, stacks, checkpoint, ends, origin }))
    }

    fn iterate(&mut self) -> Parsed<Node> {
        let step = self.name("the name of the step")?.into();
        self.need("<")?;
        let at_most = self.dim()?;
        self.need_keyword("until")?;
        let until = self.tensor()?;
        self.need("{")?;
        let origin = self.origin();
        let carried = self.carried()?;
        self.need_keyword("condition")?;
        self.need("{")?;
        let condition = self.block()?;
        let body = self.block()?;
        Ok(Node::Iterate(Iterate { step, at_most, carried, condition, until, body, origin }))
    }

    fn block(&mut self) -> Parsed<Vec<Node>> {
        let mut nodes = Vec::new();
        while !self.sign("}") {
            nodes.push(self.node()?);
        }
        Ok(nodes)
    }

    fn carried(&mut self) -> Parsed<Vec<Carried>> {
        let mut carried = Vec::new();
        while self.statement_word("carry") {
            let inside = self.tensor()?;
            self.need_keyword("from")?;
            let start = self.tensor()?;
            self.need_keyword("next")?;
            let next = self.tensor()?;
            self.need_keyword("last")?;
            carried.push(Carried { start, inside, next, last: self.tensor()? });
        }
        Ok(carried)
    }

    fn equation(&mut self) -> Parsed<Node> {
        let mut pieces = Vec::new();
        let out = self.tensor()?;
        if self.is_sign(0, "=") && matches!(self.tokens.get(self.at + 1), Some((Token::Word(w), _)) if w == "zero") {
            // `y = zero`: no piece at all, unless a tensor or size has that name.
            if self.program.find("zero").is_none() {
                self.at += 2;
                return Ok(Node::Equation(Equation { out, pieces, origin: self.origin() }));
            }
        }
        pieces.push(self.piece()?);
        while self.keyword("also") {
            if self.tensor()? != out {
                return self.expected("another piece of the same tensor before this place");
            }
            pieces.push(self.piece()?);
        }
        Ok(Node::Equation(Equation { out, pieces, origin: self.origin() }))
    }

    fn piece(&mut self) -> Parsed<Piece> {
        let mut indices: Vec<(Index, Option<String>)> = Vec::new();
        let mut subscripts = None;
        if self.sign("[") {
            if let Some(ahead) = self.find_for() {
                subscripts = Some(self.at);
                self.at = ahead + 1;
            }
            self.indices(&mut indices)?;
            self.need("]")?;
        }
        let free = indices.len();
        self.need("=")?;
        // The bound indices are wanted before filters and output subscripts are read: look at the names first.
        let monoid = self.monoid()?;
        if monoid.is_some() {
            self.need("[")?;
            self.indices(&mut indices)?;
        }
        let names: Vec<String> = indices.iter().map(|(i, _)| i.name.to_string()).collect();
        let mut scope = Vec::new();
        for (index, example) in indices {
            let example = match example {
                None => None,
                Some(name) => match names.iter().position(|n| *n == name) {
                    Some(at) => Some(IndexId(at as u32)),
                    None => return self.expected(format!("`{name}` to be an index of this piece")),
                },
            };
            scope.push(Index { example, ..index });
        }
        let at = match subscripts {
            None => (0..free as u32).map(|i| IndexId(i).into()).collect(),
            Some(start) => {
                let resume = std::mem::replace(&mut self.at, start);
                let mut at = Vec::new();
                while !self.is_keyword("for") {
                    at.push(self.affine(&scope)?);
                    if !self.is_keyword("for") {
                        self.need(",")?;
                    }
                }
                self.at = resume;
                at
            }
        };
        let (mut filter, mut empty) = (Vec::new(), None);
        if monoid.is_some() {
            if self.keyword("if") {
                filter.push(self.condition(&scope)?);
                while self.keyword("and") {
                    filter.push(self.condition(&scope)?);
                }
            }
            if self.keyword("else") {
                empty = Some(self.constant()?);
            }
            self.need("]")?;
        }
        let body = self.expr(&scope)?;
        Ok(Piece { indices: scope, free, at, monoid: monoid.unwrap_or(Monoid::Sum), filter, body, empty })
    }

    /// The position of a `for` before the bracket closes.
    fn find_for(&self) -> Option<usize> {
        let mut depth = 0usize;
        for (ahead, (token, _)) in self.tokens[self.at..].iter().enumerate() {
            match token {
                Token::Sign("[" | "(") => depth += 1,
                Token::Sign("]" | ")") if depth == 0 => return None,
                Token::Sign("]" | ")") => depth -= 1,
                Token::Word(w) if w == "for" && depth == 0 => return Some(self.at + ahead),
                Token::Word(_) | Token::Quoted(_) | Token::Number(_, _) | Token::Sign(_) | Token::Origin(_) => {}
            }
        }
        None
    }

    fn indices(&mut self, into: &mut Vec<(Index, Option<String>)>) -> Parsed<()> {
        while !self.is_sign(0, "]") && !self.is_keyword("if") && !self.is_keyword("else") {
            let name = self.name("an index")?;
            self.need("<")?;
            let range = self.dim()?;
            let example = if self.keyword("of") { Some(self.name("an index")?) } else { None };
            into.push((Index { name: name.into(), range, example: None }, example));
            if !self.sign(",") {
                break;
            }
        }
        Ok(())
    }

    fn monoid(&mut self) -> Parsed<Option<Monoid>> {
        let Some(Token::Word(name)) = self.peek() else { return Ok(None) };
        if !self.is_sign(1, "[") {
            return Ok(None);
        }
        let monoid = match (meaning(&MONOIDS, name), name.split_once('.')) {
            (Some(monoid), _) => monoid,
            (None, Some(("argmax", n))) => match n.parse() {
                Ok(n) => Monoid::ArgMax(n),
                Err(_) => return self.expected("`argmax.` and the number of a bound index"),
            },
            (None, Some(("argmin", n))) => match n.parse() {
                Ok(n) => Monoid::ArgMin(n),
                Err(_) => return self.expected("`argmin.` and the number of a bound index"),
            },
            (None, _) => return Ok(None),
        };
        self.at += 1;
        Ok(Some(monoid))
    }

    fn condition(&mut self, scope: Scope) -> Parsed<Condition> {
        if self.is_keyword("holds") && self.is_sign(1, "(") {
            self.at += 2;
            let e = self.expr(scope)?;
            self.need(")")?;
            return Ok(Condition::Holds(e));
        }
        let form = self.affine(scope)?;
        if self.sign(">=") {
            return match self.integer()? {
                0 => Ok(Condition::NonNegative(form)),
                _ => self.expected("`>= 0` before this place"),
            };
        }
        self.need("==")?;
        Ok(Condition::Equal(form, self.infix(scope, 5)?))
    }

    // -------------------------------------------------------------------------------------------- sizes and affine forms

    fn dim(&mut self) -> Parsed<Dim> {
        let form = self.affine(&[])?;
        Ok(form.offset)
    }

    /// A sum of products in which at most one factor of a product has indices.
    fn affine(&mut self, scope: Scope) -> Parsed<Affine> {
        let mut total = self.affine_product(scope)?;
        loop {
            if self.sign("+") {
                total = total + self.affine_product(scope)?;
            } else if self.sign("-") {
                total = total - self.affine_product(scope)?;
            } else {
                return Ok(total);
            }
        }
    }

    fn affine_product(&mut self, scope: Scope) -> Parsed<Affine> {
        let mut product = self.affine_factor(scope)?;
        loop {
            if self.sign("*") {
                let factor = self.affine_factor(scope)?;
                product = match (product.as_number(), factor.as_number(), product.as_dim(), factor.as_dim()) {
                    (Some(n), _, _, _) => factor.scale(n),
                    (_, Some(n), _, _) => product.scale(n),
                    (_, _, Some(a), Some(b)) => (a.clone() * b.clone()).into(),
                    (_, _, _, _) => return self.expected("an index times a number before this place"),
                };
            } else if self.sign("/") {
                let factor = self.affine_factor(scope)?;
                product = match (product.as_dim(), factor.as_dim()) {
                    (Some(a), Some(b)) => a.floor_div(b).into(),
                    (_, _) => return self.expected("a quotient of sizes before this place"),
                };
            } else {
                return Ok(product);
            }
        }
    }

    fn affine_factor(&mut self, scope: Scope) -> Parsed<Affine> {
        if self.sign("-") {
            return Ok(-self.affine_factor(scope)?);
        }
        if self.sign("(") {
            let inner = self.affine(scope)?;
            self.need(")")?;
            return Ok(inner);
        }
        if let Some(Token::Number(_, _)) = self.peek() {
            return Ok(self.integer()?.into());
        }
        let forced = self.sign("@");
        let start = self.at;
        let name = self.name("an index, a size or a number")?;
        if !forced && let Some(at) = scope.iter().position(|i| *i.name == *name) {
            return Ok(IndexId(at as u32).into());
        }
        // What is followed by `[`, `(` or `@` is a tensor or a function: a data subscript.
        if self.program.size_kind(&name).is_some()
            && !self.is_sign(0, "[")
            && !self.is_sign(0, "(")
            && !self.is_sign(0, "@")
        {
            return Ok(Dim::var(name).into());
        }
        self.at = start;
        self.expected(format!("an index, a size or a number, not `{name}`"))
    }

    // -------------------------------------------------------------------------------------------- expressions

    fn constant(&mut self) -> Parsed<f64> {
        let negative = self.sign("-");
        let value = match self.peek() {
            Some(Token::Number(value, _)) => *value,
            Some(Token::Word(w)) if w == "inf" => f64::INFINITY,
            Some(Token::Word(w)) if w == "nan" => f64::NAN,
            Some(Token::Word(_) | Token::Quoted(_) | Token::Sign(_) | Token::Origin(_)) | None => {
                return self.expected("a number");
            }
        };
        self.at += 1;
        Ok(if negative { -value } else { value })
    }

    fn expr(&mut self, scope: Scope) -> Parsed<Expr> {
        if self.keyword("if") {
            let condition = self.expr(scope)?;
            self.need_keyword("then")?;
            let yes = self.expr(scope)?;
            self.need_keyword("else")?;
            let no = self.expr(scope)?;
            return Ok(condition.select(yes, no));
        }
        self.infix(scope, 1)
    }

    /// Operators that bind at least as tightly as `level` (see [`INFIX`]; 3 is `not`, 4 the comparisons).
    fn infix(&mut self, scope: Scope, level: u8) -> Parsed<Expr> {
        match level {
            3 if self.keyword("not") => return Ok(self.infix(scope, 3)?.unary(UnaryOp::Not)),
            4 => {
                let left = self.infix(scope, 5)?;
                for (op, sign) in COMPARE {
                    if self.sign(sign) {
                        return Ok(left.compare(op, self.infix(scope, 5)?));
                    }
                }
                return Ok(left);
            }
            7.. => return self.prefix(scope),
            0..=6 => {}
        }
        let mut left = self.infix(scope, level + 1)?;
        'more: loop {
            for (op, sign, own) in INFIX {
                if own == level && (self.sign(sign) || self.keyword(sign)) {
                    left = left.binary(op, self.infix(scope, level + 1)?);
                    continue 'more;
                }
            }
            return Ok(left);
        }
    }

    fn prefix(&mut self, scope: Scope) -> Parsed<Expr> {
        let number_follows = match self.tokens.get(self.at + 1) {
            Some((Token::Number(_, _), _)) => true,
            Some((Token::Word(w), _)) => w == "inf" || w == "nan",
            Some((Token::Quoted(_) | Token::Sign(_) | Token::Origin(_), _)) | None => false,
        };
        if self.is_sign(0, "-") && !number_follows {
            self.at += 1;
            return Ok(self.prefix(scope)?.unary(UnaryOp::Neg));
        }
        self.atom(scope)
    }

    fn atom(&mut self, scope: Scope) -> Parsed<Expr> {
        if self.sign("(") {
            let inner = self.expr(scope)?;
            self.need(")")?;
            return Ok(inner);
        }
        let Some(Token::Word(word)) = self.peek() else {
            return match self.peek() {
                Some(Token::Quoted(_)) => self.named(scope),
                Some(Token::Word(_) | Token::Number(_, _) | Token::Sign(_) | Token::Origin(_)) | None => {
                    Ok(Expr::Const(self.constant()?))
                }
            };
        };
        if word == "inf" || word == "nan" {
            return Ok(Expr::Const(self.constant()?));
        }
        if !self.is_sign(1, "(") {
            return self.named(scope);
        }
        let (number, unary, binary) = (word == "number", meaning(&UNARY, word), meaning(&CALLS, word));
        if !number && unary.is_none() && binary.is_none() {
            return self.expected(format!("a function, not `{word}`"));
        }
        self.at += 2;
        let call = if number {
            Expr::Number(self.affine(scope)?)
        } else {
            let first = self.expr(scope)?;
            match (unary, binary) {
                (Some(op), _) => first.unary(op),
                (None, Some(op)) => {
                    self.need(",")?;
                    first.binary(op, self.expr(scope)?)
                }
                (None, None) => first,
            }
        };
        self.need(")")?;
        Ok(call)
    }

    /// An index, a size or a read.
    fn named(&mut self, scope: Scope) -> Parsed<Expr> {
        let Some(Token::Word(name) | Token::Quoted(name)) = self.peek() else { return self.expected("a name") };
        let bare = !self.is_sign(1, "[") && !self.is_sign(1, "@");
        if bare && let Some(at) = scope.iter().position(|i| *i.name == **name) {
            self.at += 1;
            return Ok(Expr::Number(IndexId(at as u32).into()));
        }
        if bare && self.program.size_kind(name).is_some() {
            let size = Dim::var(name.clone());
            self.at += 1;
            return Ok(Expr::Number(size.into()));
        }
        Ok(Expr::Read(self.read(scope)?))
    }

    fn read(&mut self, scope: Scope) -> Parsed<Read> {
        let mut read = Read { tensor: self.tensor()?, subs: Vec::new(), otherwise: None, example: None };
        if self.sign("@") {
            let name = self.name("an index")?;
            match scope.iter().position(|i| *i.name == *name) {
                Some(at) => read.example = Some(IndexId(at as u32)),
                None => return self.expected(format!("`{name}` to be an index of this piece")),
            }
        }
        if !self.sign("[") {
            return Ok(read);
        }
        while !self.is_sign(0, "]") && !self.is_keyword("else") {
            read.subs.push(self.sub(scope)?);
            if !self.sign(",") {
                break;
            }
        }
        if self.keyword("else") {
            read.otherwise = Some(self.constant()?);
        }
        self.need("]")?;
        Ok(read)
    }

    fn sub(&mut self, scope: Scope) -> Parsed<Sub> {
        if self.is_keyword("data") && self.is_sign(1, "(") {
            self.at += 2;
            let data = self.expr(scope)?;
            self.need(")")?;
            return Ok(data.into());
        }
        let start = self.at;
        let form = self.affine(scope);
        let ends = self.is_sign(0, ",") || self.is_sign(0, "]") || self.is_keyword("else");
        let form = if ends { form } else { form.and_then(|_| self.expected("`,` or `]`")) };
        match form {
            Ok(form) => Ok(form.into()),
            Err(fault) => {
                let reached = std::mem::replace(&mut self.at, start);
                let is_tensor = match self.peek() {
                    Some(Token::Word(name) | Token::Quoted(name)) => self.program.find(name).is_some(),
                    Some(Token::Number(_, _) | Token::Sign(_) | Token::Origin(_)) | None => false,
                };
                if is_tensor {
                    return Ok(Expr::Read(self.read(scope)?).into());
                }
                self.at = reached;
                Err(fault)
            }
        }
    }
}
