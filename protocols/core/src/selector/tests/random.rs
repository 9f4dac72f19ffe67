//! Random expressions against an evaluator that walks their tree, and random garbage.

use proptest::prelude::*;

use super::Truth::{False, True, Unknown};
use super::*;

#[derive(Clone, Debug)]
enum Term {
    Header(usize),
    /// A member of the payload.
    Json(usize),
    Int(i64),
    Real(f64),
    Text(String),
    Flag(bool),
    Sum(char, Box<Term>, Box<Term>),
    Sign(char, Box<Term>),
    Condition(Box<Expr>),
}

#[derive(Clone, Debug)]
enum Expr {
    Test(Term),
    Compare(&'static str, Term, Term),
    Between(bool, Term, Term, Term),
    In(bool, Term, Vec<Term>),
    Like(bool, Term, String),
    Null(bool, Term),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
}

/// What a member of the payload may be, as it is written in JSON.
const MEMBERS: [&str; 10] =
    ["1", "-2.5", "\"x\"", "\"1\"", "true", "false", "null", "{\"m0\":1}", "[1]", "\"\\u0078\""];
const TEXTS: [&str; 9] = ["1", "-2.5", "x", "xy", "true", "FALSE", "", "9223372036854775807", "1e1"];

/// Parenthesised only where precedence asks for it.
fn term_text(term: &Term, outer: u8) -> String {
    let (rank, text) = match term {
        Term::Header(place) => (9, format!("h{place}")),
        Term::Json(place) => (9, format!("JSON('$.m{place}')")),
        Term::Int(whole) => (7, format!("{whole}")),
        Term::Real(real) => (7, format!("{real:?}")),
        Term::Text(text) => (9, format!("'{}'", text.replace('\'', "''"))),
        Term::Flag(flag) => (9, format!("{flag}")),
        Term::Sum(operator, left, right) => {
            let rank = if matches!(operator, '+' | '-') { 5 } else { 6 };
            (rank, format!("{} {operator} {}", term_text(left, rank), term_text(right, rank + 1)))
        }
        Term::Sign(sign, term) => (7, format!("{sign} {}", term_text(term, 7))),
        Term::Condition(expr) => (9, format!("({})", expr_text(expr, 0))),
    };
    if rank < outer { format!("({text})") } else { text }
}

fn expr_text(expr: &Expr, outer: u8) -> String {
    let not = |negated: &bool| if *negated { "NOT " } else { "" };
    let (rank, text) = match expr {
        Expr::Test(term) => (4, term_text(term, 0)),
        Expr::Compare(operator, left, right) => {
            (4, format!("{} {operator} {}", term_text(left, 5), term_text(right, 5)))
        }
        Expr::Between(negated, value, lower, upper) => {
            let [value, lower, upper] = [value, lower, upper].map(|term| term_text(term, 5));
            (4, format!("{value} {}BETWEEN {lower} AND {upper}", not(negated)))
        }
        Expr::In(negated, value, items) => {
            let items: Vec<String> = items.iter().map(|item| term_text(item, 0)).collect();
            (4, format!("{} {}IN ({})", term_text(value, 0), not(negated), items.join(", ")))
        }
        Expr::Like(negated, value, pattern) => {
            (4, format!("{} {}LIKE '{pattern}'", term_text(value, 0), not(negated)))
        }
        Expr::Null(negated, value) => (4, format!("{} IS {}NULL", term_text(value, 0), not(negated))),
        Expr::Not(expr) => (3, format!("NOT {}", expr_text(expr, 3))),
        Expr::And(left, right) => (2, format!("{} AND {}", expr_text(left, 2), expr_text(right, 3))),
        Expr::Or(left, right) => (1, format!("{} OR {}", expr_text(left, 1), expr_text(right, 2))),
    };
    if rank < outer { format!("({text})") } else { text }
}

#[derive(Clone, Debug, PartialEq)]
enum Plain {
    Null,
    Unknown,
    Thing,
    Flag(bool),
    Int(i128),
    Real(f64),
    Wire(String),
    Text(String),
    Str(String),
}

struct World {
    headers: Vec<Option<&'static str>>,
    members: Vec<usize>,
}

fn read(text: &str) -> Option<Plain> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Plain::Int(whole.into()));
    }
    if text.chars().any(char::is_alphabetic) && text != "1e1" {
        return None;
    }
    text.parse().ok().map(Plain::Real)
}

fn as_number(value: &Plain) -> Option<Plain> {
    match value {
        Plain::Int(_) | Plain::Real(_) => Some(value.clone()),
        Plain::Wire(text) | Plain::Str(text) => read(text),
        _ => None,
    }
}

fn real(value: &Plain) -> f64 {
    match value {
        Plain::Int(whole) => *whole as f64,
        Plain::Real(real) => *real,
        _ => unreachable!("only numbers are asked"),
    }
}

fn ordered(operator: &str, ordering: Option<std::cmp::Ordering>) -> Truth {
    let Some(ordering) = ordering else { return Unknown };
    Truth::of(match operator {
        "=" => ordering.is_eq(),
        "<>" => ordering.is_ne(),
        "<" => ordering.is_lt(),
        "<=" => ordering.is_le(),
        ">" => ordering.is_gt(),
        _ => ordering.is_ge(),
    })
}

fn same(operator: &str, equal: bool) -> Truth {
    match operator {
        "=" => Truth::of(equal),
        "<>" => Truth::of(!equal),
        _ => Unknown,
    }
}

fn compared(operator: &str, left: &Plain, right: &Plain) -> Truth {
    use Plain::{Flag, Int, Null, Real, Str, Text, Thing, Wire};
    let empty = |value: &Plain| matches!(value, Null | Thing | Plain::Unknown);
    let numeric = |value: &Plain| matches!(value, Int(_) | Real(_));
    if empty(left) || empty(right) {
        return Unknown;
    }
    let wires = matches!((left, right), (Wire(_), Wire(_)));
    if numeric(left) || numeric(right) || wires {
        if matches!(left, Text(_) | Flag(_)) || matches!(right, Text(_) | Flag(_)) {
            return False;
        }
        match (as_number(left), as_number(right)) {
            (Some(Int(left)), Some(Int(right))) => return ordered(operator, Some(left.cmp(&right))),
            (Some(left), Some(right)) => return ordered(operator, real(&left).partial_cmp(&real(&right))),
            _ if !wires => return Unknown,
            _ => {}
        }
    }
    match (left, right) {
        (Flag(left), Flag(right)) => same(operator, left == right),
        (Flag(flag), Wire(text)) | (Wire(text), Flag(flag)) => match text.to_lowercase().as_str() {
            "true" => same(operator, *flag),
            "false" => same(operator, !*flag),
            _ => Unknown,
        },
        (Flag(_), _) | (_, Flag(_)) => False,
        (Wire(left) | Text(left) | Str(left), Wire(right) | Text(right) | Str(right)) => {
            same(operator, left == right)
        }
        _ => unreachable!("numbers are done"),
    }
}

fn term(world: &World, it: &Term) -> Plain {
    match it {
        Term::Header(place) => world.headers[*place].map_or(Plain::Null, |text| Plain::Wire(text.into())),
        Term::Json(place) => match MEMBERS[world.members[*place]] {
            "null" => Plain::Null,
            "true" => Plain::Flag(true),
            "false" => Plain::Flag(false),
            "1" => Plain::Int(1),
            "-2.5" => Plain::Real(-2.5),
            "\"1\"" => Plain::Str("1".into()),
            "\"x\"" | "\"\\u0078\"" => Plain::Str("x".into()),
            _ => Plain::Thing,
        },
        Term::Int(whole) => Plain::Int((*whole).into()),
        Term::Real(real) => Plain::Real(*real),
        Term::Text(text) => Plain::Text(text.clone()),
        Term::Flag(flag) => Plain::Flag(*flag),
        Term::Sum(operator, left, right) => {
            let (Some(left), Some(right)) = (as_number(&term(world, left)), as_number(&term(world, right)))
            else {
                return Plain::Unknown;
            };
            if let (Plain::Int(left), Plain::Int(right)) = (&left, &right) {
                let whole = match operator {
                    '+' => left + right,
                    '-' => left - right,
                    '*' => left * right,
                    _ if *right == 0 => return Plain::Unknown,
                    _ => left / right,
                };
                return i64::try_from(whole).map_or(Plain::Unknown, |whole| Plain::Int(whole.into()));
            }
            let (left, right) = (real(&left), real(&right));
            let result = match operator {
                '+' => left + right,
                '-' => left - right,
                '*' => left * right,
                _ => left / right,
            };
            if result.is_finite() { Plain::Real(result) } else { Plain::Unknown }
        }
        Term::Sign(sign, it) => match (as_number(&term(world, it)), sign) {
            (None, _) => Plain::Unknown,
            (Some(number), '+') => number,
            (Some(Plain::Int(whole)), _) if whole == i128::from(i64::MIN) => Plain::Unknown,
            (Some(Plain::Int(whole)), _) => Plain::Int(-whole),
            (Some(number), _) => Plain::Real(-real(&number)),
        },
        Term::Condition(expr) => match eval(world, expr) {
            True => Plain::Flag(true),
            False => Plain::Flag(false),
            Unknown => Plain::Unknown,
        },
    }
}

fn like(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skipped| like(rest, &text[skipped..])),
        [wanted, rest @ ..] => {
            text.first().is_some_and(|char| *wanted == '_' || wanted == char) && like(rest, &text[1..])
        }
    }
}

fn flip(negated: bool, truth: Truth) -> Truth {
    match (negated, truth) {
        (true, True) => False,
        (true, False) => True,
        _ => truth,
    }
}

fn eval(world: &World, expr: &Expr) -> Truth {
    // As numbers FALSE, UNKNOWN, TRUE are 0, 1, 2: AND is the least, OR the greatest.
    let level = |truth: Truth| [False, Unknown, True].iter().position(|known| *known == truth).unwrap();
    let truth = |level: usize| [False, Unknown, True][level];
    match expr {
        Expr::Test(it) => match term(world, it) {
            Plain::Flag(flag) => Truth::of(flag),
            Plain::Wire(text) if text.to_lowercase() == "true" => True,
            Plain::Wire(text) if text.to_lowercase() == "false" => False,
            _ => Unknown,
        },
        Expr::Compare(operator, left, right) => compared(operator, &term(world, left), &term(world, right)),
        Expr::Between(negated, value, lower, upper) => {
            let [value, lower, upper] = [value, lower, upper].map(|it| term(world, it));
            let both = level(compared(">=", &value, &lower)).min(level(compared("<=", &value, &upper)));
            flip(*negated, truth(both))
        }
        Expr::In(negated, value, items) => {
            let value = term(world, value);
            let best = items.iter().map(|item| level(compared("=", &value, &term(world, item)))).max();
            flip(*negated, truth(best.unwrap()))
        }
        Expr::Like(negated, value, pattern) => {
            let outcome = match term(world, value) {
                Plain::Wire(text) | Plain::Str(text) => {
                    let [pattern, text]: [Vec<char>; 2] = [pattern, &text].map(|text| text.chars().collect());
                    Truth::of(like(&pattern, &text))
                }
                Plain::Flag(_) | Plain::Int(_) | Plain::Real(_) => False,
                _ => Unknown,
            };
            flip(*negated, outcome)
        }
        Expr::Null(negated, value) => flip(*negated, Truth::of(term(world, value) == Plain::Null)),
        Expr::Not(expr) => flip(true, eval(world, expr)),
        Expr::And(left, right) => truth(level(eval(world, left)).min(level(eval(world, right)))),
        Expr::Or(left, right) => truth(level(eval(world, left)).max(level(eval(world, right)))),
    }
}

fn named() -> BoxedStrategy<Term> {
    prop_oneof![(0..12_usize).prop_map(Term::Header), (0..4_usize).prop_map(Term::Json)].boxed()
}

fn number() -> BoxedStrategy<Term> {
    prop_oneof![
        prop_oneof![-3..4_i64, Just(i64::MAX), Just(i64::MIN)].prop_map(Term::Int),
        prop_oneof![Just(1.0), Just(-2.5), Just(0.0), Just(1e308)].prop_map(Term::Real),
    ]
    .boxed()
}

fn text() -> BoxedStrategy<Term> {
    prop::sample::select(&TEXTS[..]).prop_map(|text| Term::Text(text.into())).boxed()
}

fn computed() -> BoxedStrategy<Term> {
    prop_oneof![named(), number()]
        .prop_recursive(3, 8, 2, |inner| {
            prop_oneof![
                (prop::sample::select(vec!['+', '-', '*', '/']), inner.clone(), inner.clone())
                    .prop_map(|(operator, left, right)| Term::Sum(operator, left.into(), right.into())),
                (prop::sample::select(vec!['+', '-']), inner)
                    .prop_map(|(sign, it)| Term::Sign(sign, it.into())),
            ]
        })
        .boxed()
}

fn comparison(side: impl Strategy<Value = Term> + Clone) -> impl Strategy<Value = Expr> {
    let operator = prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    (operator, side.clone(), side).prop_map(|(operator, left, right)| Expr::Compare(operator, left, right))
}

fn expr() -> impl Strategy<Value = Expr> {
    let side = prop_oneof![computed(), named(), text(), any::<bool>().prop_map(Term::Flag)];
    let leaf = prop_oneof![
        4 => comparison(side.clone()),
        1 => prop_oneof![named(), any::<bool>().prop_map(Term::Flag)].prop_map(Expr::Test),
        1 => (any::<bool>(), computed(), computed(), computed())
            .prop_map(|(negated, value, lower, upper)| Expr::Between(negated, value, lower, upper)),
        1 => (any::<bool>(), named(), prop::collection::vec(prop_oneof![text(), number()], 1..4))
            .prop_map(|(negated, value, items)| Expr::In(negated, value, items)),
        1 => (any::<bool>(), named(), "[x1%_y]{0,5}")
            .prop_map(|(negated, value, pattern)| Expr::Like(negated, value, pattern)),
        1 => (any::<bool>(), named()).prop_map(|(negated, value)| Expr::Null(negated, value)),
    ];
    leaf.prop_recursive(5, 20, 2, move |inner| {
        // A value in parentheses is no condition, but that value.
        let condition = inner.clone().prop_map(|expr| match expr {
            Expr::Test(term) => term,
            expr => Term::Condition(expr.into()),
        });
        prop_oneof![
            1 => comparison(prop_oneof![condition, side.clone()]),
            2 => inner.clone().prop_map(|expr| Expr::Not(expr.into())),
            3 => (inner.clone(), inner.clone()).prop_map(|(left, right)| Expr::And(left.into(), right.into())),
            3 => (inner.clone(), inner).prop_map(|(left, right)| Expr::Or(left.into(), right.into())),
        ]
    })
}

fn world() -> impl Strategy<Value = World> {
    (
        prop::collection::vec(prop::option::weighted(0.8, prop::sample::select(&TEXTS[..])), 12),
        prop::collection::vec(0..MEMBERS.len(), 4),
    )
        .prop_map(|(headers, members)| World { headers, members })
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.headers, self.payload())
    }
}

impl World {
    fn fields(&self) -> Vec<u8> {
        let names: Vec<String> = (0..self.headers.len()).map(|place| format!("h{place}")).collect();
        encoded(names.iter().zip(&self.headers).filter_map(|(name, value)| Some((name.as_str(), (*value)?))))
    }

    fn payload(&self) -> String {
        let members: Vec<String> = self
            .members
            .iter()
            .enumerate()
            .map(|(place, member)| format!("\"m{place}\": {}", MEMBERS[*member]))
            .collect();
        format!("{{{}}}", members.join(","))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_program_comes_to_what_its_tree_does(expr in expr(), world in world()) {
        let text = expr_text(&expr, 0);
        prop_assume!(text.len() < 4000);
        let outcome = outcome(&text, &world.fields(), world.payload().as_bytes());
        prop_assert_eq!(outcome, eval(&world, &expr), "{}", text);
    }

    #[test]
    fn garbage_is_refused_or_run(text in "\\PC{0,40}", payload: Vec<u8>, fields: Vec<u8>) {
        if let Ok(selector) = Selector::parse(&text) {
            let _ = selector.matches_parts("t", &Fields::from_validated([&fields, &[], &[]]), &payload);
        }
    }

    #[test]
    fn words_in_any_order_are_refused_or_run(
        words in prop::collection::vec(prop::sample::select(vec![
            "a", "1", "-", "2.5", "'x'", "(", ")", "AND", "OR", "NOT", "BETWEEN", "IN", "LIKE", "ESCAPE", "IS", "NULL",
            "=", "<", "+", "*", ",", "TRUE", "JSON('$.a')", "JSON", "\"b\"", "'!'",
        ]), 1..14),
        payload in "[\\[\\]{}\",:a0-9\\\\ue. -]{0,30}",
    ) {
        let text = words.join(" ");
        match Selector::parse(&text) {
            Ok(selector) => {
                let _ = selector.matches_parts("t", &Fields::default(), payload.as_bytes());
                Selector::parse(&format!("NOT ({text})")).expect("its negation is one too");
            }
            Err(error) => prop_assert!(error.column <= text.len() + 1, "{}", error),
        }
    }
}
