//! Reads a caller's visibility filter closely enough to refuse what could match everything.
//!
//! It is a small recursive-descent parser of Temporal's list filter (<https://docs.temporal.io/list-filter>): comparisons,
//! `IN`, `BETWEEN`, `STARTS_WITH`, `IS NULL`, joined by `AND`, `OR`, `NOT` and parentheses. Whatever it does not know -
//! comments, ORDER BY, functions, backslashes - is refused rather than guessed at, since the server might read it differently.
//!
//! A filter *selects* when every way of satisfying it names something: in each branch of an `OR` there is a positive `=`, `IN`
//! or `STARTS_WITH` with a value, on an attribute that does not belong to all executions alike. `NOT` turns that around, so
//! for each part two answers are kept: whether it selects, and whether its opposite does.

use std::ops::Range;

/// What is wrong with a filter; `None` when it can be passed on.
pub(super) fn problem(query: &str) -> Option<String> {
    match Parser::read(query) {
        Err(problem) => Some(problem),
        Ok((selects, _)) if selects.itself => None,
        Ok(_) => Some(
            "could match (nearly) everything: each branch must name something by =, IN or STARTS_WITH, for example a \
             WorkloadId, WorkflowType, WorkflowId or TaskQueue"
                .to_owned(),
        ),
    }
}

/// The filter as it is for an execution that runs: conditions on the status and the time of the close are replaced by what they
/// are then. So a closed execution matches if it did while it ran. `None` when that cannot be told, or the filter is none.
pub(super) fn as_if_open(query: &str) -> Option<String> {
    let (_, statuses) = Parser::read(query).ok()?;
    let mut text = query.to_owned();
    // From the end, so that the ranges before stay true.
    for Status { range, when_open } in statuses.into_iter().rev() {
        let certain = if when_open? { ">=" } else { "<" };
        text.replace_range(range, &format!("StartTime {certain} \"1970-01-01T00:00:00Z\""));
    }
    Some(text)
}

/// A condition that asks how, or when, an execution ended.
struct Status {
    /// Where it stands, in bytes.
    range: Range<usize>,
    /// What it says of one that runs; unset when that cannot be told.
    when_open: Option<bool>,
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

/// Attributes that tell how, or when, an execution ended.
const ENDINGS: [&str; 3] = ["executionstatus", "closetime", "executionduration"];

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

/// The tokens, each with where it stands, in bytes.
fn tokens(query: &str) -> Result<Vec<(Token, Range<usize>)>, String> {
    const SIGNS: [&str; 10] = ["!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ","];
    let mut rest = query;
    let mut tokens = Vec::new();
    while let Some(c) = rest.chars().next() {
        let from = query.len() - rest.len();
        let token;
        if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
            continue;
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
            token = if c == '`' {
                Token::Name(text)
            } else {
                Token::Quoted(text)
            };
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            token = Token::Sign(sign);
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
            token = Token::Word(rest[..end].to_owned());
            rest = &rest[end..];
        }
        tokens.push((token, from..query.len() - rest.len()));
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
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
    depth: usize,
    statuses: Vec<Status>,
}

impl Parser {
    /// Reads a filter: whether it selects, and its conditions on the status, in order.
    fn read(query: &str) -> Result<(Selects, Vec<Status>), String> {
        let mut parser = Self {
            tokens: tokens(query)?,
            at: 0,
            depth: 0,
            statuses: Vec::new(),
        };
        let selects = parser.any()?;
        match parser.peek() {
            None => Ok((selects, parser.statuses)),
            Some(token) => Err(format!("has {token} where AND, OR or its end is expected")),
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
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
        let first = self.at;
        let selects = self.comparison()?;
        if let Some([(attribute, from), .., (_, to)]) = self.tokens.get(first..self.at)
            && let Token::Word(attribute) | Token::Name(attribute) = attribute
            && ENDINGS.contains(&attribute.to_ascii_lowercase().as_str())
        {
            let (range, words) = (from.start..to.end, &self.tokens[first + 1..self.at]);
            let when_open = when_open(&attribute.to_ascii_lowercase(), words);
            self.statuses.push(Status { range, when_open });
        }
        Ok(selects)
    }

    fn comparison(&mut self) -> Result<Selects, String> {
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

/// What a condition on one of [`ENDINGS`], without its attribute, says of an execution that runs.
fn when_open(attribute: &str, condition: &[(Token, Range<usize>)]) -> Option<bool> {
    let words: Vec<String> = condition
        .iter()
        .map(|(token, _)| match token {
            Token::Word(text) | Token::Name(text) | Token::Quoted(text) => text.to_ascii_lowercase(),
            Token::Sign(sign) => (*sign).to_owned(),
        })
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (attribute, words.as_slice()) {
        ("closetime", ["is", "null"]) | ("executionstatus", ["is", "not", "null"]) => Some(true),
        ("closetime", ["is", "not", "null"]) | ("executionstatus", ["is", "null"]) => Some(false),
        ("executionstatus", ["=", status]) => is_running(status),
        ("executionstatus", ["!=" | "<>", status]) => is_running(status).map(|running| !running),
        ("executionstatus", ["in", "(", statuses @ .., ")"]) => is_one_running(statuses),
        ("executionstatus", ["not", "in", "(", statuses @ .., ")"]) => is_one_running(statuses).map(|running| !running),
        _ => None,
    }
}

fn is_one_running(statuses: &[&str]) -> Option<bool> {
    let each: Option<Vec<bool>> = statuses
        .iter()
        .filter(|word| **word != ",")
        .map(|status| is_running(status))
        .collect();
    Some(each?.contains(&true))
}

/// Paused is open, too: whether a closed execution was paused while it was open cannot be told.
fn is_running(status: &str) -> Option<bool> {
    match status {
        "running" => Some(true),
        "completed" | "failed" | "canceled" | "terminated" | "continuedasnew" | "timedout" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{as_if_open, problem};

    #[test]
    fn a_closed_execution_is_asked_as_if_it_were_open() {
        const TRUE: &str = "StartTime >= \"1970-01-01T00:00:00Z\"";
        const FALSE: &str = "StartTime < \"1970-01-01T00:00:00Z\"";
        for (query, expected) in [
            ("WorkloadId = 'x'", "WorkloadId = 'x'".to_owned()),
            (
                "WorkloadId = 'ü' AND ExecutionStatus = 'Running' AND TaskQueue='q'",
                format!("WorkloadId = 'ü' AND {TRUE} AND TaskQueue='q'"),
            ),
            (
                "NOT (`ExecutionStatus` = \"Completed\") AND WorkflowType='a' AND CloseTime IS NULL",
                format!("NOT ({FALSE}) AND WorkflowType='a' AND {TRUE}"),
            ),
            (
                "WorkflowType='a' AND executionstatus NOT IN ('Failed', 'TimedOut')",
                format!("WorkflowType='a' AND {TRUE}"),
            ),
            (
                "ExecutionStatus IN (Running, 'Failed') OR ExecutionStatus != 'Running'",
                format!("{TRUE} OR {FALSE}"),
            ),
        ] {
            assert_eq!(as_if_open(query).as_deref(), Some(expected.as_str()), "{query}");
            assert!(super::tokens(&expected).is_ok());
        }
        for unknown in [
            "ExecutionStatus = 'Paused'",
            "ExecutionStatus IN ('Running', 'Paused')",
            "CloseTime > '2020-01-01T00:00:00Z'",
            "ExecutionStatus = 1",
            "WorkflowType = 'a' AND ExecutionDuration > 5",
        ] {
            assert_eq!(as_if_open(unknown), None, "{unknown}");
        }
    }

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
