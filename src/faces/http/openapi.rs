//! `GET /api/v1/openapi.json`: what this face answers, for programs. It is made of the table that the router is made
//! of, so it names every call and no other.
//!
//! Source: `OpenAPI` Specification, version 3.1.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::super::VERSION;
use super::asks::Ask;
use super::problem;
use super::routes::{CALLS, Call, Takes, Verb};

/// See the module.
pub(super) async fn answer() -> Response {
    problem::json(StatusCode::OK, &document())
}

fn document() -> Value {
    let mut paths = Map::new();
    for call in CALLS {
        let path = paths.entry(call.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(call.verb.word().to_lowercase(), operation(call));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tallyd",
            "version": VERSION,
            "summary": "Counters, rules and who looks after what.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": { "Problem": {
                "type": "object",
                "required": ["status", "errorType", "error"],
                "properties": {
                    "status": { "const": "error" },
                    "errorType": { "type": "string" },
                    "error": { "type": "string" },
                },
            } },
            "responses": { "Problem": {
                "description": "Why it was not done.",
                "content": { "application/json": {
                    "schema": { "$ref": "#/components/schemas/Problem" },
                } },
            } },
        },
    })
}

fn operation(call: &Call) -> Value {
    let in_path = names_in(call.path).map(|name| {
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
    });
    let asked = call.asks.iter().map(|ask| {
        let Ask { name, about, is_needed } = ask;
        json!({
            "name": name, "in": "query", "required": is_needed, "description": about,
            "schema": { "type": "string" },
        })
    });
    // The role that it takes, as `OpenAPI` has it for what is no OAuth.
    let security = call.role.map_or(json!([]), |role| json!([{ "token": [role.word()] }]));
    let mut operation = json!({
        "operationId": id(call),
        "summary": call.about,
        "security": security,
        "parameters": in_path.chain(asked).collect::<Vec<_>>(),
        "responses": {
            "200": { "description": "It was done.", "content": { call.gives: {} } },
            "default": { "$ref": "#/components/responses/Problem" },
        },
    });
    if let (Some(body), Some(operation)) = (body(call.takes), operation.as_object_mut()) {
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

fn body(takes: Takes) -> Option<Value> {
    let fields = |kind: &str, asks: &[Ask]| {
        let field = |ask: &Ask| (ask.name.to_owned(), json!({ "description": ask.about }));
        let needed = asks.iter().filter(|ask| ask.is_needed).map(|ask| ask.name);
        let properties: Map<_, _> = asks.iter().map(field).collect();
        let schema = json!({
            "type": "object",
            "properties": properties,
            "required": needed.collect::<Vec<_>>(),
        });
        json!({ "content": { kind: { "schema": schema } } })
    };
    match takes {
        Takes::Nothing => None,
        Takes::Json(asks) => Some(fields("application/json", asks)),
        Takes::Form(asks) => Some(fields("application/x-www-form-urlencoded", asks)),
        Takes::Text(kind) => Some(json!({ "content": { kind: {} } })),
    }
}

/// The parts of a path that differ.
fn names_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// A name for programs: `get_api_v1_acks`.
fn id(call: &Call) -> String {
    let spelled = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let path: String = call.path.chars().map(spelled).collect();
    let words = path.split('_').filter(|word| !word.is_empty());
    let verb = match call.verb {
        Verb::Get => "get",
        Verb::Post => "post",
        Verb::Delete => "delete",
    };
    std::iter::once(verb).chain(words).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_is_there_under_a_name_of_its_own_and_no_other() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let told: BTreeSet<_> = paths
            .iter()
            .flat_map(|(path, calls)| {
                let verbs = calls.as_object().unwrap().keys();
                verbs.map(|verb| (path.clone(), verb.to_uppercase()))
            })
            .collect();
        let known: BTreeSet<_> =
            CALLS.iter().map(|call| (call.path.to_owned(), call.verb.word().to_owned())).collect();
        assert_eq!(told, known);
        let ids: BTreeSet<_> = CALLS.iter().map(id).collect();
        assert_eq!(ids.len(), CALLS.len(), "{ids:?}");
        for call in CALLS {
            let its = &paths[call.path][&call.verb.word().to_lowercase()];
            let needed = its["security"][0]["token"][0].as_str();
            assert_eq!(needed, call.role.map(crate::config::Role::word), "{}", call.path);
            assert!(!call.about.is_empty() && !call.gives.is_empty(), "{}", call.path);
            assert_eq!(its["requestBody"].is_null(), matches!(call.takes, Takes::Nothing));
        }
    }
}
