//! `/tokenize` and `/detokenize`, as llama.cpp has them.

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{ApiError, ErrorEnvelope};
use crate::state::AppState;
use crate::wire::Body;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(tokenize))
        .routes(routes!(detokenize))
        .route("/v1/tokenize", post(tokenize))
        .route("/v1/detokenize", post(detokenize))
}

/// A text whose tokens are wanted.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenizeRequest {
    /// The model; the one there is, if absent.
    model: Option<String>,
    /// The text.
    content: String,
    /// Add the tokens that the model expects around a text.
    add_special: Option<bool>,
    /// Special tokens written in the text become their ids; with `false` they are letters. `true` if absent.
    parse_special: Option<bool>,
    /// Say how each token reads.
    with_pieces: Option<bool>,
}

/// Tokens of a text.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TokenizeResponse {
    /// Their ids, or with `with_pieces` also how they read.
    tokens: Vec<TokenObject>,
}

/// A token.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum TokenObject {
    /// Its id.
    Id(u32),
    /// Its id and how it reads.
    WithPiece {
        /// Its id.
        id: u32,
        /// Its text; its bytes, if they are no text.
        piece: Piece,
    },
}

/// How a token reads.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Piece {
    /// As text.
    Text(String),
    /// As bytes.
    Bytes(Vec<u8>),
}

/// Tokens whose text is wanted.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DetokenizeRequest {
    /// The model; the one there is, if absent.
    model: Option<String>,
    /// Their ids.
    tokens: Vec<u32>,
}

/// The text of tokens.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct DetokenizeResponse {
    /// The text, with special tokens as they are written.
    content: String,
}

/// The tokens of a text
#[utoipa::path(post, path = "/tokenize", tag = "Tokens", request_body = TokenizeRequest, responses(
    (status = 200, body = TokenizeResponse), (status = "4XX", body = ErrorEnvelope), (status = 503, body = ErrorEnvelope)))]
async fn tokenize(
    State(state): State<AppState>,
    Body(request, _): Body<TokenizeRequest>,
) -> Result<Json<TokenizeResponse>, ApiError> {
    state.model(request.model.as_deref())?;
    state.blocking(move |state| Ok(Json(tokens(state, &request)?))).await
}

fn tokens(state: &AppState, request: &TokenizeRequest) -> Result<TokenizeResponse, ApiError> {
    let tokenizer = state.tokenizer()?;
    let add_special = request.add_special.unwrap_or(false);
    let parse_special = request.parse_special.unwrap_or(true);
    if add_special && !parse_special {
        let message =
            "parse_special is false and add_special is true: only one of both is possible";
        return Err(ApiError::parameter("parse_special", message));
    }
    let encode = |text: &str| match parse_special {
        true => tokenizer.encode(text, add_special),
        false => tokenizer.encode_plain(text),
    };
    let ids = state.encode_any("content", &request.content, encode)?;
    if !request.with_pieces.unwrap_or(false) {
        return Ok(TokenizeResponse { tokens: ids.into_iter().map(TokenObject::Id).collect() });
    }
    let texts = state.texts()?;
    let with_piece = |id| {
        let text = texts.get(id);
        let piece = match String::from_utf8(text.bytes) {
            Ok(text) => Piece::Text(text),
            Err(error) => Piece::Bytes(error.into_bytes()),
        };
        TokenObject::WithPiece { id, piece }
    };
    Ok(TokenizeResponse { tokens: ids.into_iter().map(with_piece).collect() })
}

/// The text of tokens
#[utoipa::path(post, path = "/detokenize", tag = "Tokens", request_body = DetokenizeRequest, responses(
    (status = 200, body = DetokenizeResponse), (status = "4XX", body = ErrorEnvelope), (status = 503, body = ErrorEnvelope)))]
async fn detokenize(
    State(state): State<AppState>,
    Body(request, _): Body<DetokenizeRequest>,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let vocabulary = state.model(request.model.as_deref())?.engine.vocabulary();
    let unknown = |(_, id): &(usize, &u32)| **id as usize >= vocabulary;
    if let Some((index, id)) = request.tokens.iter().enumerate().find(unknown) {
        let parameter = format!("tokens[{index}]");
        let message = format!("{parameter} is {id}, but the vocabulary has {vocabulary} tokens");
        return Err(ApiError::parameter(parameter, message));
    }
    state
        .blocking(move |state| {
            let content = state.tokenizer()?.decode(&request.tokens, false);
            Ok(Json(DetokenizeResponse { content }))
        })
        .await
}
