//! Queries of the page to the searcher.

use anyhow::Result;
use ocelli_proto::limits::DEFAULT_MAX_MESSAGE_BYTES;
use ocelli_proto::status::describe;
use ocelli_proto::tonic::service::interceptor::InterceptedService;
use ocelli_proto::tonic::{Code, Status};
use ocelli_proto::v1;
use ocelli_proto::v1::query_term::Term;
use ocelli_proto::v1::search_service_client::SearchServiceClient;
use ocelli_service::client::{ClientSecurity, SecureChannel};

/// A searcher of this machine.
#[derive(Clone)]
pub struct Searcher(SearchServiceClient<SecureChannel>);

/// The query that a page sends.
pub enum Wanted {
    Id(u64),
    Key(String),
    Image(Vec<u8>),
}

/// A photo that was found.
pub struct Hit {
    pub id: u64,
    pub score: f32,
    pub key: String,
}

/// Why nothing was found, and whether the query is to blame.
pub struct Refusal {
    pub is_query: bool,
    pub what: String,
}

impl Searcher {
    pub async fn connect(url: &str) -> Result<Self> {
        let (endpoint, bearer) = ClientSecurity::default().endpoint(url)?;
        let channel = InterceptedService::new(endpoint.connect().await?, bearer);
        Ok(Searcher(
            SearchServiceClient::new(channel).max_decoding_message_size(DEFAULT_MAX_MESSAGE_BYTES),
        ))
    }

    /// The `k` photos of the index that are most like `wanted`, best first.
    pub async fn search(&self, index: &str, wanted: Wanted, k: u32) -> Result<Vec<Hit>, Refusal> {
        let term = match wanted {
            Wanted::Id(id) => Term::Id(v1::QueryId { id }),
            Wanted::Key(key) => Term::Key(v1::QueryKey { key }),
            Wanted::Image(data) => {
                Term::Image(v1::QueryImage { data, r#box: None, sizes: Vec::new() })
            }
        };
        let options = v1::SearchOptions { k, with_keys: true, ..Default::default() };
        let request = v1::SearchRequest {
            index: index.to_owned(),
            generation: 0,
            terms: vec![v1::QueryTerm { weight: None, term: Some(term) }],
            options: Some(options),
        };
        let answer = self.0.clone().search(request).await.map_err(refusal)?.into_inner();
        let rows = answer.ids.into_iter().zip(answer.scores).zip(answer.keys);
        Ok(rows.map(|((id, score), key)| Hit { id, score, key }).collect())
    }
}

fn refusal(status: Status) -> Refusal {
    let of_query =
        [Code::InvalidArgument, Code::NotFound, Code::FailedPrecondition, Code::OutOfRange];
    Refusal { is_query: of_query.contains(&status.code()), what: describe(&status).to_string() }
}
