//! Tokens to a syntax tree.
//!
//! Precedence climbing: `||`, `&&`, comparisons and `in` (which do not chain), `+ -`, `* / %`, then
//! `! -` in front and `.field`, `[index]`, `(call)` behind. A syntax error ends parsing, because
//! what follows one is guesswork; what is wrong *in meaning* is all collected, in `check.rs`.

use super::ExprError;
use super::lex::{Lexer, Token};
use super::limits;
use super::syntax::{COMPARISON, Expr, Kind, Name, Operator, Span};

/// Parses a whole source.
pub(super) fn parse(source: &str) -> Result<Expr, ExprError> {
    let mut parser = Parser::new(source, 0)?;
    let expr = parser.expression()?;
    match &parser.token {
        Token::End => Ok(expr),
        token => {
            let help = stray_help(token);
            Err(ExprError::new(
                parser.span,
                format!("unexpected {}", token.describe()),
                help,
            ))
        }
    }
}

/// Parses the expression that starts at byte `at` and ends before a `}`; gives the byte behind it.
pub(super) fn parse_placeholder(source: &str, at: usize) -> Result<(Expr, usize), ExprError> {
    let mut parser = Parser::new(source, at)?;
    let expr = parser.expression()?;
    if parser.token == Token::Symbol("}") {
        return Ok((expr, parser.span.end as usize));
    }
    let message = format!("expected '}}', found {}", parser.token.describe());
    Err(ExprError::new(
        parser.span,
        message,
        stray_help(&parser.token),
    ))
}

fn stray_help(token: &Token) -> Option<&'static str> {
    match token {
        Token::Name(name) => match name.to_ascii_lowercase().as_str() {
            "and" => Some("write '&&'"),
            "or" => Some("write '||'"),
            "is" => Some("write '=='"),
            "if" | "else" => Some("write 'condition ? yes : no'"),
            _ => None,
        },
        Token::Symbol(";") => Some("a rule is one expression"),
        _ => None,
    }
}

struct Parser<'s> {
    lexer: Lexer<'s>,
    token: Token,
    span: Span,
    /// The end of the token before.
    end: Span,
    nodes: usize,
    nesting: u8,
}

impl<'s> Parser<'s> {
    fn new(source: &'s str, at: usize) -> Result<Self, ExprError> {
        let mut lexer = Lexer::new(source, at);
        let (token, span) = lexer.next()?;
        Ok(Self {
            lexer,
            token,
            span,
            end: Span::new(at, at),
            nodes: 0,
            nesting: 0,
        })
    }

    fn advance(&mut self) -> Result<Token, ExprError> {
        let (token, span) = self.lexer.next()?;
        self.end = self.span;
        self.span = span;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn at(&self, symbol: &str) -> bool {
        matches!(&self.token, Token::Symbol(found) if *found == symbol)
    }

    /// Takes the symbol if it is next.
    fn accept(&mut self, symbol: &str) -> Result<bool, ExprError> {
        let found = self.at(symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, symbol: &str) -> Result<(), ExprError> {
        if self.accept(symbol)? {
            return Ok(());
        }
        let message = format!("expected '{symbol}', found {}", self.token.describe());
        Err(ExprError::new(self.span, message, stray_help(&self.token)))
    }

    /// A part with its children's depth checked; every part is made here.
    fn part(&mut self, kind: Kind, span: Span, below: u8) -> Result<Expr, ExprError> {
        self.nodes += 1;
        if self.nodes > limits::NODES {
            let message = format!("an expression of more than {} parts", limits::NODES);
            return Err(ExprError::new(
                span,
                message,
                Some("split it into several rules"),
            ));
        }
        if below >= limits::DEPTH {
            return Err(too_deep(span));
        }
        Ok(Expr {
            kind,
            span,
            depth: below + 1,
        })
    }

    /// `condition ? yes : no`, or anything that binds tighter.
    fn expression(&mut self) -> Result<Expr, ExprError> {
        self.nesting += 1;
        if self.nesting > limits::DEPTH {
            return Err(too_deep(self.span));
        }
        let mut expr = self.binary(0)?;
        if self.accept("?")? {
            let yes = self.expression()?;
            self.expect(":")?;
            let no = self.expression()?;
            let span = expr.span.to(no.span);
            let depth = expr.depth.max(yes.depth).max(no.depth);
            expr = self.part(Kind::Choice(Box::new((expr, yes, no))), span, depth)?;
        }
        self.nesting -= 1;
        Ok(expr)
    }

    fn operator(&self) -> Option<Operator> {
        match &self.token {
            Token::Symbol(symbol) => Operator::of(symbol),
            Token::Name(name) if name == "in" => Some(Operator::In),
            _ => None,
        }
    }

    fn binary(&mut self, above: u8) -> Result<Expr, ExprError> {
        let mut left = self.unary()?;
        let mut compared = false;
        while let Some(operator) = self.operator().filter(|next| next.precedence() > above) {
            let precedence = operator.precedence();
            if precedence == COMPARISON && std::mem::replace(&mut compared, true) {
                let help = Some("write 'a < b && b < c'");
                return Err(ExprError::new(self.span, "comparisons do not chain", help));
            }
            self.advance()?;
            let right = self.binary(precedence)?;
            let span = left.span.to(right.span);
            let depth = left.depth.max(right.depth);
            left = self.part(Kind::Binary(operator, Box::new((left, right))), span, depth)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, ExprError> {
        let start = self.span;
        let negate = self.at("-");
        if !negate && !self.at("!") {
            return self.postfix();
        }
        self.advance()?;
        self.nesting += 1;
        if self.nesting > limits::DEPTH {
            return Err(too_deep(self.span));
        }
        let operand = self.unary()?;
        self.nesting -= 1;
        let (span, depth) = (start.to(operand.span), operand.depth);
        let operand = Box::new(operand);
        let kind = if negate {
            Kind::Negate(operand)
        } else {
            Kind::Not(operand)
        };
        self.part(kind, span, depth)
    }

    fn postfix(&mut self) -> Result<Expr, ExprError> {
        let mut expr = self.primary()?;
        loop {
            let start = expr.span;
            if self.accept(".")? {
                let name = self.name("a field name")?;
                if self.at("(") {
                    expr = self.call(name, vec![expr], start)?;
                    continue;
                }
                let (span, depth) = (start.to(name.span), expr.depth);
                expr = self.part(Kind::Field(Box::new(expr), name), span, depth)?;
            } else if self.accept("[")? {
                let index = self.expression()?;
                self.expect("]")?;
                let depth = expr.depth.max(index.depth);
                let kind = Kind::Index(Box::new(expr), Box::new(index));
                expr = self.part(kind, start.to(self.end), depth)?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn name(&mut self, what: &str) -> Result<Name, ExprError> {
        let span = self.span;
        if let Token::Name(text) = &self.token {
            let text = text.clone();
            self.advance()?;
            return Ok(Name { text, span });
        }
        let help = matches!(self.token, Token::Text(_))
            .then_some("a field with an unusual name is written a[\"name\"]");
        let message = format!("expected {what}, found {}", self.token.describe());
        Err(ExprError::new(span, message, help))
    }

    /// A call, with the bracket next. What stands before the dot of a method is its first argument.
    fn call(&mut self, name: Name, args: Vec<Expr>, start: Span) -> Result<Expr, ExprError> {
        self.expect("(")?;
        let args = self.items(args, ")")?;
        let depth = args.iter().map(|arg| arg.depth).max().unwrap_or(0);
        self.part(Kind::Call(name, args), start.to(self.end), depth)
    }

    /// Expressions between commas up to a closing bracket; a comma at the end is allowed.
    fn items(&mut self, mut items: Vec<Expr>, close: &str) -> Result<Vec<Expr>, ExprError> {
        while !self.accept(close)? {
            items.push(self.expression()?);
            if !self.at(close) {
                self.expect(",")?;
            }
        }
        Ok(items)
    }

    fn primary(&mut self) -> Result<Expr, ExprError> {
        let start = self.span;
        match self.advance()? {
            Token::Number(number) => self.part(Kind::Number(number), start, 0),
            Token::Text(text) => self.part(Kind::Text(text), start, 0),
            Token::Name(text) => self.named(text, start),
            Token::Symbol("(") => {
                let mut inner = self.expression()?;
                self.expect(")")?;
                inner.span = start.to(self.end);
                Ok(inner)
            }
            Token::Symbol("[") => {
                let items = self.items(Vec::new(), "]")?;
                let depth = items.iter().map(|item| item.depth).max().unwrap_or(0);
                self.part(Kind::List(items), start.to(self.end), depth)
            }
            Token::Symbol("{") => self.map(start),
            Token::End => Err(ExprError::new(
                start,
                "the expression ends where a value should stand",
                None,
            )),
            token @ Token::Symbol(_) => {
                let message = format!("expected a value, found {}", token.describe());
                Err(ExprError::new(start, message, None))
            }
        }
    }

    fn named(&mut self, text: String, span: Span) -> Result<Expr, ExprError> {
        let kind = match text.as_str() {
            "null" => Kind::Null,
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            "in" => {
                return Err(ExprError::new(span, "expected a value, found 'in'", None));
            }
            _ if self.at("(") => return self.call(Name { text, span }, Vec::new(), span),
            _ => Kind::Root(text),
        };
        self.part(kind, span, 0)
    }

    fn map(&mut self, start: Span) -> Result<Expr, ExprError> {
        let mut entries: Vec<(Name, Expr)> = Vec::new();
        let mut depth = 0;
        while !self.accept("}")? {
            let key = self.key()?;
            if entries.iter().any(|(known, _)| known.text == key.text) {
                let message = format!("key '{}' stands twice in the map", key.text);
                return Err(ExprError::new(key.span, message, None));
            }
            self.expect(":")?;
            let value = self.expression()?;
            depth = depth.max(value.depth);
            entries.push((key, value));
            if !self.at("}") {
                self.expect(",")?;
            }
        }
        self.part(Kind::Map(entries), start.to(self.end), depth)
    }

    fn key(&mut self) -> Result<Name, ExprError> {
        let span = self.span;
        if let Token::Text(text) = &self.token {
            let text = text.clone();
            self.advance()?;
            return Ok(Name { text, span });
        }
        let message = format!("expected a key, found {}", self.token.describe());
        Err(ExprError::new(
            span,
            message,
            Some("keys are texts in quotes: {'sku': order.sku}"),
        ))
    }
}

fn too_deep(span: Span) -> ExprError {
    let message = format!("an expression nested deeper than {}", limits::DEPTH);
    ExprError::new(span, message, Some("split it into several rules"))
}
