//! `/v1/embeddings`.

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use stablemate_engine::Pooling;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::prompt::{PromptSchema, Prompts};
use crate::error::{ApiError, ErrorEnvelope};
use crate::generation::submit_embeddings;
use crate::layers::Record;
use crate::state::AppState;
use crate::wire::Body;

/// Inputs that are handed to the engine at a time, so that a long list does not fill the queue.
const AT_A_TIME: usize = 8;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(embeddings)).route("/embeddings", post(embeddings))
}

/// Texts whose vectors are wanted.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmbeddingRequest {
    /// The model; the one there is, if absent.
    model: Option<String>,
    /// One text or several, or their token ids.
    #[schema(value_type = PromptSchema)]
    input: Prompts,
    /// As numbers, or as base64 of little-endian 32-bit floats. Numbers, if absent.
    encoding_format: Option<EncodingFormat>,
    /// Must be the model's width: vectors are not shortened.
    #[schema(minimum = 1)]
    dimensions: Option<u64>,
    /// How the tokens' vectors become one: their mean if absent.
    pooling: Option<PoolingKind>,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EncodingFormat {
    /// An array of numbers.
    #[default]
    Float,
    /// A string.
    Base64,
}

/// How the tokens' vectors become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PoolingKind {
    /// Their mean.
    #[default]
    Mean,
    /// The last one's.
    Last,
}

/// All vectors.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EmbeddingResponse {
    /// Always `list`.
    object: &'static str,
    /// The vectors, in the order of the inputs.
    data: Vec<EmbeddingObject>,
    /// The model.
    model: String,
    /// Tokens of all inputs.
    usage: EmbeddingUsage,
}

/// A vector of length 1.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EmbeddingObject {
    /// Always `embedding`.
    object: &'static str,
    /// Which input's.
    index: usize,
    /// The vector.
    embedding: Vector,
}

/// A vector.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Vector {
    /// As numbers.
    Float(Vec<f32>),
    /// As base64 of little-endian 32-bit floats.
    Base64(String),
}

/// Tokens of all inputs.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct EmbeddingUsage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// Vectors of texts
///
/// The vectors after the model's last norm, pooled over the tokens and scaled to length 1.
#[utoipa::path(post, path = "/v1/embeddings", tag = "Embeddings", request_body = EmbeddingRequest, responses(
    (status = 200, body = EmbeddingResponse), (status = "4XX", body = ErrorEnvelope), (status = 503, body = ErrorEnvelope)))]
async fn embeddings(
    State(state): State<AppState>,
    record: Record,
    Body(request, _): Body<EmbeddingRequest>,
) -> Result<Json<EmbeddingResponse>, ApiError> {
    let name = state.model(request.model.as_deref())?.name().to_owned();
    let EmbeddingRequest { model, input, encoding_format, dimensions, pooling, .. } = request;
    let prompts = state.blocking(move |state| input.encode(state, "input", true)).await?;
    check_lengths(&state, &prompts.iter().map(|prompt| prompt.ids.len()).collect::<Vec<_>>())?;
    let pooling = match pooling.unwrap_or_default() {
        PoolingKind::Mean => Pooling::Mean,
        PoolingKind::Last => Pooling::Last,
    };
    let format = encoding_format.unwrap_or_default();
    let tokens = prompts.iter().map(|prompt| prompt.ids.len()).sum();
    let mut data = Vec::new();
    for part in prompts.chunks(AT_A_TIME) {
        let ids = part.iter().map(|prompt| prompt.ids.clone()).collect();
        for answer in submit_embeddings(&state, &record, ids, pooling)?.collect().await? {
            let vector =
                answer.embedding.ok_or_else(|| ApiError::internal("a vector is missing"))?;
            check_width(dimensions, vector.len())?;
            let embedding = write(normalised(vector), format);
            data.push(EmbeddingObject { object: "embedding", index: data.len(), embedding });
        }
    }
    let usage = EmbeddingUsage { prompt_tokens: tokens, total_tokens: tokens };
    Ok(Json(EmbeddingResponse { object: "list", data, model: model.unwrap_or(name), usage }))
}

fn check_lengths(state: &AppState, lengths: &[usize]) -> Result<(), ApiError> {
    let context = state.served()?.engine.context();
    match lengths.iter().enumerate().find(|(_, length)| **length > context) {
        None => Ok(()),
        Some((index, length)) => {
            let parameter = format!("input[{index}]");
            let message =
                format!("{parameter} has {length} tokens, but the context holds {context}");
            Err(ApiError::parameter(parameter, message).with_code("context_length_exceeded"))
        }
    }
}

fn check_width(wanted: Option<u64>, width: usize) -> Result<(), ApiError> {
    match wanted {
        Some(wanted) if wanted != width as u64 => {
            let message = format!(
                "dimensions is {wanted}, but this model's vectors have {width}, and are not shortened"
            );
            Err(ApiError::parameter("dimensions", message))
        }
        _ => Ok(()),
    }
}

/// Of length 1, as OpenAI's are; a vector of zeros stays one.
fn normalised(mut vector: Vec<f32>) -> Vec<f32> {
    let squares: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let length = squares.sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
    vector
}

fn write(vector: Vec<f32>, format: EncodingFormat) -> Vector {
    match format {
        EncodingFormat::Float => Vector::Float(vector),
        EncodingFormat::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            Vector::Base64(STANDARD.encode(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one() {
        assert_eq!(normalised(vec![3.0, 4.0]), [0.6, 0.8]);
        assert_eq!(normalised(vec![0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn base64_is_of_little_endian_floats() {
        let Vector::Base64(text) = write(vec![1.0], EncodingFormat::Base64) else { panic!() };
        assert_eq!(text, "AACAPw==");
    }
}
