//! Reads a caller's visibility filter closely enough to refuse what could match everything.
//!
//! It is a small recursive-descent parser of Temporal's list filter (<https://docs.temporal.io/list-filter>): comparisons,
//! `IN`, `BETWEEN`, `STARTS_WITH`, `IS NULL`, joined by `AND`, `OR`, `NOT` and parentheses. Whatever it does not know -
//! comments, ORDER BY, functions, backslashes - is refused rather than guessed at, since the server might read it differently.
//!
//! A filter *selects* when every way of satisfying it names something: in each branch of an `OR` there is a positive `=`, `IN`
//! or `STARTS_WITH` with a value, on an attribute that does not belong to all executions alike. `NOT` turns that around, so
//! for each part two answers are kept: whether it selects, and whether its opposite does.

/// What is wrong with a filter; `None` when it can be passed on.
pub(super) fn problem(query: &str) -> Option<String> {
    let parsed = tokens(query).and_then(|tokens| {
        let mut parser = Parser {
            tokens,
            at: 0,
            depth: 0,
        };
        let selects = parser.any()?;
        match parser.peek() {
            None => Ok(selects),
            Some(token) => Err(format!("has {token} where AND, OR or its end is expected")),
        }
    });
    match parsed {
        Err(problem) => Some(problem),
        Ok(selects) if selects.itself => None,
        Ok(_) => Some(
            "could match (nearly) everything: each branch must name something by =, IN or STARTS_WITH, for example a \
             WorkloadId, WorkflowType, WorkflowId or TaskQueue"
                .to_owned(),
        ),
    }
}

/// Attributes that all executions have and that name no workload.
const COMMON: [&str; 10] = [
    "closetime",
    "starttime",
    "executiontime",
    "executionstatus",
    "executionduration",
    "historylength",
    "historysizebytes",
    "statetransitioncount",
    "temporalchangeversion",
    "binarychecksums",
];

/// Nested parentheses and NOTs that are read.
const MAX_DEPTH: usize = 50;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// An attribute, a keyword, or an unquoted value.
    Word(String),
    /// An attribute in backquotes: never a keyword.
    Name(String),
    /// A value in quotes.
    Quoted(String),
    /// A comparison, a parenthesis or a comma.
    Sign(&'static str),
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(text) | Self::Name(text) => write!(f, "\"{text}\""),
            Self::Quoted(_) => write!(f, "a quoted value"),
            Self::Sign(sign) => write!(f, "\"{sign}\""),
        }
    }
}

fn tokens(query: &str) -> Result<Vec<Token>, String> {
    const SIGNS: [&str; 10] = ["!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ","];
    let mut rest = query;
    let mut tokens = Vec::new();
    while let Some(c) = rest.chars().next() {
        if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
        } else if matches!(c, '"' | '\'' | '`') {
            let inside = &rest[1..];
            let end = inside.find(c).ok_or("has an unbalanced quote")?;
            let text = &inside[..end];
            if text.contains('\\') || text.chars().any(char::is_control) {
                return Err("must not contain backslashes or control characters between quotes".to_owned());
            }
            rest = &inside[end + 1..];
            if rest.starts_with(c) {
                return Err("must not double a quote: use the other kind of quotes around it".to_owned());
            }
            let text = text.to_owned();
            tokens.push(if c == '`' {
                Token::Name(text)
            } else {
                Token::Quoted(text)
            });
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            let number = c == '-' && rest[1..].starts_with(|next: char| next.is_ascii_digit());
            let first = if number { 1 } else { 0 };
            let end = rest[first..]
                .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.')))
                .map_or(rest.len(), |end| end + first);
            if end == 0 {
                return Err(format!(
                    "must not contain {c:?} outside quotes: it is taken for a filter only"
                ));
            }
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    Ok(tokens)
}

/// Whether a part of the filter selects, and whether its opposite does.
#[derive(Clone, Copy)]
struct Selects {
    itself: bool,
    opposite: bool,
}

impl Selects {
    const NOTHING: Self = Self {
        itself: false,
        opposite: false,
    };

    fn turned(self, turn: bool) -> Self {
        if turn {
            Self {
                itself: self.opposite,
                opposite: self.itself,
            }
        } else {
            self
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Result<Token, String> {
        let token = self.peek().cloned().ok_or("ends in the middle of a condition")?;
        self.at += 1;
        Ok(token)
    }

    fn takes_word(&mut self, keyword: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(is);
        is
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(is);
        is
    }

    fn sign(&mut self, sign: &str) -> Result<(), String> {
        if self.takes_sign(sign) {
            return Ok(());
        }
        match self.peek() {
            Some(token) => Err(format!("has {token} where \"{sign}\" is expected")),
            None => Err(format!(
                "has unbalanced parentheses or ends where \"{sign}\" is expected"
            )),
        }
    }

    fn any(&mut self) -> Result<Selects, String> {
        let mut selects = self.all()?;
        while self.takes_word("or") {
            let other = self.all()?;
            selects = Selects {
                itself: selects.itself && other.itself,
                opposite: selects.opposite || other.opposite,
            };
        }
        Ok(selects)
    }

    fn all(&mut self) -> Result<Selects, String> {
        let mut selects = self.one()?;
        while self.takes_word("and") {
            let other = self.one()?;
            selects = Selects {
                itself: selects.itself || other.itself,
                opposite: selects.opposite && other.opposite,
            };
        }
        Ok(selects)
    }

    fn one(&mut self) -> Result<Selects, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("must not be nested more than {MAX_DEPTH} deep"));
        }
        let selects = if self.takes_word("not") {
            self.one()?.turned(true)
        } else if self.takes_sign("(") {
            let inner = self.any()?;
            self.sign(")")?;
            inner
        } else {
            self.condition()?
        };
        self.depth -= 1;
        Ok(selects)
    }

    fn condition(&mut self) -> Result<Selects, String> {
        let attribute = match self.next()? {
            Token::Word(name) | Token::Name(name) => name.to_ascii_lowercase(),
            token => return Err(format!("has {token} where an attribute is expected")),
        };
        if attribute == "temporalnamespacedivision" {
            return Err("must not name TemporalNamespaceDivision: those are the server's own workflows".to_owned());
        }
        let names = !COMMON.contains(&attribute.as_str()) && !attribute.starts_with(|c: char| c.is_ascii_digit());
        let selects_if = |given: bool| Selects {
            itself: names && given,
            opposite: false,
        };
        if self.takes_word("is") {
            self.takes_word("not");
            if !self.takes_word("null") {
                return Err("has IS without NULL or NOT NULL".to_owned());
            }
            return Ok(Selects::NOTHING);
        }
        let turn = self.takes_word("not");
        let selects = if self.takes_word("in") {
            self.sign("(")?;
            let mut given = self.value()?;
            while self.takes_sign(",") {
                given &= self.value()?;
            }
            self.sign(")")?;
            selects_if(given)
        } else if self.takes_word("starts_with") {
            selects_if(self.value()?)
        } else if self.takes_word("between") {
            self.value()?;
            if !self.takes_word("and") {
                return Err("has BETWEEN without AND".to_owned());
            }
            self.value()?;
            Selects::NOTHING
        } else if turn {
            return Err("has NOT where IN, STARTS_WITH or BETWEEN is expected".to_owned());
        } else {
            match self.next()? {
                Token::Sign("=") => selects_if(self.value()?),
                Token::Sign("!=" | "<>") => selects_if(self.value()?).turned(true),
                Token::Sign("<" | ">" | "<=" | ">=") => {
                    self.value()?;
                    Selects::NOTHING
                }
                token => return Err(format!("has {token} where a comparison is expected")),
            }
        };
        Ok(selects.turned(turn))
    }

    /// Whether a value is there that is more than an empty string.
    fn value(&mut self) -> Result<bool, String> {
        match self.next()? {
            Token::Quoted(text) => Ok(!text.trim().is_empty()),
            Token::Word(_) => Ok(true),
            token => Err(format!("has {token} where a value is expected")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn what_names_something_in_every_branch_is_taken() {
        for query in [
            "WorkloadId = 'x'",
            "WorkloadId=\"x\"",
            "`WorkloadId` = 'x' AND StartTime > '2020-01-01T00:00:00Z'",
            "WorkflowType IN ('a', \"b\") AND ExecutionStatus = 'Running'",
            "WorkflowId STARTS_WITH 'order-' AND NOT WorkflowType = 'Keep'",
            "WorkloadId = 'x' OR (TaskQueue = 'y' AND HistoryLength > 10)",
            "NOT (WorkloadId != 'x')",
            "NOT (WorkloadId != 'x' OR WorkflowType != 'y')",
            "NOT WorkflowType NOT IN ('a')",
            "CustomIntField = -5 AND StartTime BETWEEN '2020' AND '2021'",
            "WorkloadId = 'a (b) # -- /* ; c' and WorkflowType is not null",
        ] {
            assert_eq!(problem(query), None, "{query}");
        }
    }

    #[test]
    fn what_could_match_everything_is_refused() {
        for query in [
            "CloseTime IS NULL",
            "ExecutionStatus = 'Running'",
            "ExecutionStatus = Running",
            "StartTime > '2020-01-01T00:00:00Z' AND ExecutionStatus = \"Running\"",
            "WorkflowType IS NOT NULL",
            "WorkflowType != 'x'",
            "WorkflowId <> 'x'",
            "NOT WorkflowType = 'x'",
            "WorkflowType NOT IN ('a', 'b')",
            "WorkflowId STARTS_WITH ''",
            "WorkflowId IN ('a', '')",
            "WorkflowId >= 'a'",
            "WorkloadId = 'x' OR StartTime > '2000-01-01'",
            "WorkloadId = 'x' OR WorkloadId != 'x'",
            "NOT (WorkloadId = 'x' AND WorkflowType = 'y')",
            "1 = 1",
        ] {
            let problem = problem(query);
            assert!(
                problem.as_ref().is_some_and(|p| p.contains("everything")),
                "{query}: {problem:?}"
            );
        }
    }

    #[test]
    fn what_is_more_or_less_than_a_filter_is_refused() {
        for query in [
            "true",
            "WorkloadId",
            "WorkloadId =",
            "WorkloadId = 'x' AND",
            "WorkloadId = 'x",
            "(WorkloadId = 'x'",
            "WorkloadId = 'x')",
            "WorkloadId = 'x') OR (WorkloadId != 'x'",
            "WorkloadId = 'x' ORDER BY StartTime",
            "WorkloadId = 'x' GROUP BY ExecutionStatus",
            "WorkloadId = 'x' -- tail",
            "WorkloadId = 'x' # tail",
            "WorkloadId = 'x' // tail",
            "WorkloadId = 'x' /* ( */ ) #",
            "WorkloadId = 'x'; drop",
            "WorkloadId = 'x\\'",
            "WorkloadId = 'it''s'",
            "TemporalNamespaceDivision IS NOT NULL AND WorkloadId = 'x'",
            "`TemporalNamespaceDivision` = 'x'",
            "temporalnamespacedivision = 'x'",
            "'WorkloadId' = 'x'",
            &format!("{}WorkloadId = 'x'{}", "(".repeat(500), ")".repeat(500)),
            &format!("{}WorkloadId = 'x'", "NOT ".repeat(500)),
        ] {
            assert!(problem(query).is_some(), "{query}");
        }
    }
}
