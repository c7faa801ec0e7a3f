//! Reads SQL as far as no schema is needed: one query, over `input` alone, whose columns have names.

use std::collections::HashMap;
use std::ops::ControlFlow;

use baler_model::ledger::Failure;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{
    self, Expr, ObjectName, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::fault;

/// The table that the records are.
pub(super) const INPUT: &str = "input";

/// Operators of a query, at most: each may be a level below the one before it.
const OPERATORS: usize = 1_000;

/// Checks a query as far as no schema is needed.
pub(crate) fn check(text: &str) -> Result<(), Failure> {
    super::deep(|| parse(text).map(|_| ()))
}

/// Reads one query over `input`.
pub(super) fn parse(text: &str) -> Result<Statement, Failure> {
    let operators = operators(text);
    if operators > OPERATORS {
        return Err(refuse(
            format!("the query has {operators} operators, {OPERATORS} are the most"),
            "write a long list as `a IN (1, 2, …)`, or join it: `FROM input JOIN (VALUES (1), (2), …) AS t(a) ON …`",
        ));
    }
    let parser = DFParserBuilder::new(text).build();
    let statements =
        parser.and_then(|mut parser| parser.parse_statements()).map_err(|error| fault::planning(&error))?;
    let mut statements = statements.into_iter();
    let (Some(statement), rest) = (statements.next(), statements.next()) else {
        return Err(refuse("`sql` is empty", "for example `SELECT * FROM input WHERE price > 0`"));
    };
    if rest.is_some() {
        return Err(refuse(
            "`sql` holds more than one statement",
            "write one query; `WITH … AS (…)` names parts of it",
        ));
    }
    let Statement::Statement(inner) = &statement else { return Err(no_query(&statement)) };
    let ast::Statement::Query(query) = &**inner else { return Err(no_query(&statement)) };
    if writes(query) {
        return Err(no_query(&statement));
    }
    let (tables, _) = resolve_table_references(&statement, false).map_err(|error| fault::planning(&error))?;
    let other =
        tables.iter().find(|table| table.catalog().is_some() || table.schema().is_some() || table.table() != INPUT);
    if let Some(other) = other {
        return Err(refuse(
            format!("there is no table `{other}`"),
            "the records are the table `input`, and there is no other; small tables may be written as `(VALUES (…), …) AS t(a, b)`",
        ));
    }
    if tables.is_empty() {
        return Err(refuse("the query does not read `input`", "select from the records: `SELECT … FROM input`"));
    }
    if let Some(nameless) = Names::default().of_query(query) {
        return Err(self::nameless(&nameless));
    }
    Ok(statement)
}

/// Words and signs that make an expression of others; none where the text has no words that SQL knows.
fn operators(text: &str) -> usize {
    let is_operator = |token: &Token| match token {
        Token::Word(word) => OPERATING.contains(&word.keyword),
        Token::Number(..) | Token::Whitespace(_) | Token::Comma | Token::Period | Token::SemiColon | Token::EOF => {
            false
        }
        Token::LParen | Token::RParen | Token::RBracket | Token::RBrace => false,
        quoted => !quoted.to_string().contains('\''),
    };
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize().unwrap_or_default();
    tokens.iter().filter(|token| is_operator(token)).count()
}

const OPERATING: [Keyword; 14] = [
    Keyword::AND,
    Keyword::OR,
    Keyword::NOT,
    Keyword::IS,
    Keyword::IN,
    Keyword::LIKE,
    Keyword::ILIKE,
    Keyword::BETWEEN,
    Keyword::UNION,
    Keyword::EXCEPT,
    Keyword::INTERSECT,
    Keyword::JOIN,
    Keyword::COLLATE,
    Keyword::AT,
];

/// A column that comes out without a name.
pub(super) fn nameless(expression: &str) -> Failure {
    refuse(format!("`{expression}` comes out without a name"), format!("give it one: `{expression} AS name`"))
}

fn refuse(error: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure { error: error.into(), hint: Some(hint.into()) }
}

fn no_query(statement: &Statement) -> Failure {
    let text = statement.to_string();
    let word = text.split_whitespace().next().unwrap_or_default().to_uppercase();
    refuse(format!("`{word} …` is no query"), "`sql` takes one `SELECT … FROM input`; where records go, `to` says")
}

/// Whether a part of a query writes: `WITH t AS (INSERT …)`, `SELECT … INTO`.
fn writes(query: &ast::Query) -> bool {
    struct Writes;
    impl ast::Visitor for Writes {
        type Break = ();
        fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
            fn of(body: &SetExpr) -> bool {
                match body {
                    SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => true,
                    SetExpr::Select(select) => select.into.is_some(),
                    SetExpr::SetOperation { left, right, .. } => of(left) || of(right),
                    SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::Table(_) => false,
                }
            }
            if of(&query.body) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    ast::Visit::visit(query, &mut Writes).is_break()
}

/// Looks for columns without a name where they come out: in the list of a query, and behind each `*` of it.
#[derive(Default)]
struct Names<'a> {
    /// Parts of the query by their names; of those that name their columns themselves nothing.
    parts: HashMap<&'a str, Option<&'a ast::Query>>,
}

impl<'a> Names<'a> {
    fn of_query(&mut self, query: &'a ast::Query) -> Option<String> {
        let before = self.parts.clone();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let query = cte.alias.columns.is_empty().then_some(&*cte.query);
            self.parts.insert(&cte.alias.name.value, query);
        }
        let found = self.of_body(&query.body);
        self.parts = before;
        found
    }

    fn of_body(&mut self, body: &'a SetExpr) -> Option<String> {
        match body {
            SetExpr::Query(query) => self.of_query(query),
            // The first names the columns of all.
            SetExpr::SetOperation { left, .. } => self.of_body(left),
            SetExpr::Select(select) => select.projection.iter().find_map(|item| self.of_item(item, &select.from)),
            SetExpr::Values(_) => Some(body.to_string()),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) | SetExpr::Table(_) => {
                None
            }
        }
    }

    fn of_item(&mut self, item: &'a SelectItem, from: &'a [TableWithJoins]) -> Option<String> {
        let tables =
            || from.iter().flat_map(|one| std::iter::once(&one.relation).chain(one.joins.iter().map(|j| &j.relation)));
        match item {
            SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => None,
            SelectItem::UnnamedExpr(expression) => Some(expression.to_string()),
            SelectItem::ExprWithAlias { .. } | SelectItem::ExprWithAliases { .. } => None,
            SelectItem::Wildcard(_) => tables().find_map(|table| self.of_table(table, None)),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                tables().find_map(|table| self.of_table(table, Some(name)))
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(expression), _) => {
                Some(expression.to_string())
            }
        }
    }

    /// What comes out of a table without a name; of those of another name nothing is asked.
    fn of_table(&mut self, table: &'a TableFactor, only: Option<&ObjectName>) -> Option<String> {
        let is_meant = |name: Option<&str>| only.is_none_or(|only| name.is_some_and(|name| only.to_string() == name));
        match table {
            TableFactor::Derived { subquery, alias, .. } => {
                let names_columns = alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
                let is_meant = is_meant(alias.as_ref().map(|alias| alias.name.value.as_str()));
                if names_columns || !is_meant { None } else { self.of_query(subquery) }
            }
            TableFactor::Table { name, alias, .. } => {
                let names_columns = alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
                let part = name.0.last().and_then(|part| part.as_ident()).map(|part| part.value.as_str())?;
                let is_meant = is_meant(Some(alias.as_ref().map_or(part, |alias| alias.name.value.as_str())));
                if names_columns || !is_meant {
                    return None;
                }
                // Taken out meanwhile: a part that names itself has no end.
                let query = self.parts.remove(part).flatten()?;
                let found = self.of_query(query);
                self.parts.insert(part, Some(query));
                found
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                let joined = table_with_joins.joins.iter().map(|join| &join.relation);
                std::iter::once(&table_with_joins.relation).chain(joined).find_map(|table| self.of_table(table, only))
            }
            _ => None,
        }
    }
}
