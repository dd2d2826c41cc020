//! `klankbord.v1.Kpi`: counts a stream of messages or verdicts. Depends on `crate::kpi`, the pipeline and the rest of
//! `rpc`.

use std::future::ready;
use std::sync::Arc;

use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status, Streaming};

use crate::batch::lane::{Lane, Terms};
use crate::config::ServerConfig;
use crate::kpi::period::{hour_of, zone};
use crate::kpi::{self, Entry, Grouping, Labels, Probabilities, Table, Unit};
use crate::message::{Intent, Message, Prevalence, Sentiment, Verdict};
use crate::pipeline::{Live, PipelineError};
use crate::rpc::call::Call;
use crate::rpc::convert;
use crate::rpc::pb::{self, count_request::Counted, kpi_server};
use crate::rpc::status::{Place, RpcError};

/// Groups of one call: some 10 KB each.
const MOST_GROUPS: usize = 5_000;
/// Refusals that are told.
const MOST_ERRORS: usize = 100;
/// Longest brand, in bytes.
const MAX_BRAND_BYTES: usize = 256;
/// Where days begin unless the caller says otherwise.
const ZONE: &str = "Europe/Amsterdam";

/// The service.
pub(super) struct Kpi {
    pub live: Live,
    pub config: Arc<ServerConfig>,
    pub stopping: watch::Receiver<bool>,
}

fn table(options: Option<pb::CountOptions>) -> Result<Table, RpcError> {
    let pb::CountOptions { period, by_channel, by_brand, time_zone } = options.unwrap_or_default();
    let period = match convert::one_of(&Unit::ALL, period) {
        None if period != 0 => {
            return Err(RpcError::Field("options.period", "names no period that there is"));
        }
        period => period,
    };
    let by = Grouping { period, channel: by_channel, brand: by_brand };
    let name = if time_zone.is_empty() { ZONE } else { time_zone.as_str() };
    let wrong = RpcError::Field("options.time_zone", "names no time zone of the IANA database");
    Ok(Table::new(by, zone(name).map_err(|_| wrong)?, MOST_GROUPS))
}

/// A time as the wire has it.
fn time(
    field: &'static str,
    raw: Option<prost_types::Timestamp>,
) -> Result<Option<Timestamp>, RpcError> {
    let read = |raw: prost_types::Timestamp| Timestamp::new(raw.seconds, raw.nanos);
    raw.map(read).transpose().map_err(|_| RpcError::Field(field, "is no time"))
}

/// The labels of a verdict that a client sends back.
fn labels(verdict: &pb::Verdict) -> Result<Labels, RpcError> {
    let wrong = |field| RpcError::Field(field, "is missing, or not as the service gives it");
    let (mut holds, mut intents) = ([false; 4], [0f32; 4]);
    for intent in Intent::ALL {
        let own = verdict.intents.iter().find(|v| convert::named_intent(v.intent) == Some(intent));
        let own = own.filter(|own| (0.0..=1.0).contains(&own.probability));
        let own = own.ok_or_else(|| wrong("verdict.intents"))?;
        (holds[intent as usize], intents[intent as usize]) = (own.holds, own.probability);
    }
    let felt = verdict.sentiment.as_ref().ok_or_else(|| wrong("verdict.sentiment"))?;
    let sentiment = [felt.negative, felt.neutral, felt.positive];
    let named = convert::named_sentiment(felt.sentiment);
    let named: Option<Sentiment> =
        named.filter(|_| sentiment.iter().all(|p| (0.0..=1.0).contains(p)));
    Ok(Labels {
        intents: holds,
        sentiment: named.ok_or_else(|| wrong("verdict.sentiment"))?,
        urgent: verdict.urgent.as_ref().is_some_and(|urgent| urgent.holds),
        needs_review: verdict.needs_review,
        probabilities: Some(Probabilities { intents, sentiment }),
    })
}

/// A verdict, however long it takes: what is counted so far is not given up because the service is busy.
async fn classified(live: &Live, call: &Call, message: Message) -> Result<Verdict, RpcError> {
    let terms = Terms { lane: Lane::Bulk, deadline: call.due() };
    loop {
        match live.now().classify_on(message.clone(), terms).await {
            Err(PipelineError::Overloaded { retry_after }) => {
                tokio::time::sleep(retry_after).await;
            }
            verdict => return Ok(verdict?),
        }
    }
}

/// What is counted of one request; `None` of one that has only options.
async fn entry(
    live: &Live,
    call: &Call,
    request: pb::CountRequest,
) -> Result<Option<Entry>, RpcError> {
    let pb::CountRequest { counted, received_at, answered_at, channel, brand, .. } = request;
    if brand.len() > MAX_BRAND_BYTES {
        return Err(RpcError::Field("brand", "is longer than 256 bytes"));
    }
    let received_at = time("received_at", received_at)?;
    let answered_at = time("answered_at", answered_at)?;
    let (labels, channel) = match counted {
        None if received_at.is_none() && answered_at.is_none() && brand.is_empty() => {
            return Ok(None);
        }
        None => return Err(RpcError::Missing(Place::Only)),
        Some(Counted::Verdict(verdict)) => (labels(&verdict)?, convert::channel(channel)),
        Some(Counted::Message(message)) => {
            let message = convert::message(Some(message), Place::Only)?;
            let channel = message.channel();
            call.pace().await;
            // Not in the counters nor in the watch for a crisis: these may be last year's messages, and counted then.
            (Labels::from(&classified(live, call, message).await?), channel)
        }
    };
    let brand = Some(brand.trim().to_owned()).filter(|brand| !brand.is_empty());
    Ok(Some(Entry { received_at, answered_at, channel, brand, labels }))
}

#[tonic::async_trait]
impl kpi_server::Kpi for Kpi {
    async fn count(
        &self,
        request: Request<Streaming<pb::CountRequest>>,
    ) -> Result<Response<pb::CountResponse>, Status> {
        let call = Call::of(request.extensions());
        call.take_bulk_place()?;
        let mut requests = request.into_inner();
        let Some(mut first) = requests.message().await? else {
            return Ok(Response::new(response(table(None)?, None, Vec::new(), 0)));
        };
        let mut table = table(first.options.take())?;
        let live = &self.live;
        let all = futures::stream::once(ready(Ok(first))).chain(requests).enumerate();
        let entries = all.map(|(index, request)| {
            let call = &call;
            async move {
                // A broken request ends the stream: there is nothing behind it.
                let request = request?;
                call.add_items(usize::from(request.counted.is_some()));
                if request.options.is_some() {
                    let late = RpcError::Field("options", "come after the first request");
                    return Err(Status::from(late));
                }
                Ok((index, entry(live, call, request).await))
            }
        });
        let mut stopping = self.stopping.clone();
        let stopped = async move {
            // An error says that the server itself is gone.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        let entries = entries.buffer_unordered(self.config.stream_window);
        let mut entries = std::pin::pin!(entries);
        let mut stopped = std::pin::pin!(stopped);
        let (mut errors, mut refused) = (Vec::new(), 0u64);
        loop {
            let next = tokio::select! {
                biased;
                () = &mut stopped => {
                    return Err(RpcError::from(PipelineError::ShuttingDown).into());
                }
                next = entries.next() => next,
            };
            let Some(next) = next else { break };
            let (index, entry) = next?;
            let counted = entry.and_then(|entry| match entry {
                Some(entry) => table.add(&entry).map_err(RpcError::Uncounted),
                None => Ok(()),
            });
            match counted {
                Ok(()) => {}
                // Not this message's fault, and the next would fare no better.
                Err(
                    error
                    @ RpcError::Pipeline(PipelineError::ShuttingDown | PipelineError::Expired),
                ) => return Err(error.into()),
                Err(error) => {
                    refused += 1;
                    if errors.len() < MOST_ERRORS {
                        let index = index as u64;
                        errors.push(pb::CountError { index, error: Some(error.into()) });
                    }
                }
            }
        }
        errors.sort_by_key(|error| error.index);
        let priors = live.now().model().prevalence;
        // Thousands of groups take a while, and calls that are quick should not wait for it.
        let told = spawn_blocking(move || response(table, priors, errors, refused)).await;
        let told = told.map_err(|_| RpcError::from(PipelineError::Failed))?;
        Ok(Response::new(told))
    }
}

fn response(
    mut table: Table,
    priors: Option<Prevalence>,
    errors: Vec<pb::CountError>,
    refused: u64,
) -> pb::CountResponse {
    let groups = table.groups(priors.as_ref()).into_iter().map(group).collect();
    let hour = |hour: i64| {
        hour_of(hour).map_or_else(String::new, |(day, hour)| format!("{day}T{hour:02}:00"))
    };
    let crises = table.crises().into_iter().map(|crisis| pb::CrisisEpisode {
        first_hour: hour(crisis.from),
        last_hour: hour(crisis.to),
        series: crisis.series.name().to_owned(),
        observed: crisis.observed,
        expected: crisis.expected,
    });
    let crises = crises.collect();
    let total = Some(figures(&table.figures(priors.as_ref())));
    pb::CountResponse { groups, total, crises, refused, errors }
}

fn group(group: kpi::Group) -> pb::CountGroup {
    let stamp = |time: Timestamp| prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    };
    pb::CountGroup {
        period: group.period.unwrap_or_default(),
        from: group.span.map(|span| stamp(span.start)),
        to: group.span.map(|span| stamp(span.end)),
        channel: group.channel.flatten().map_or(0, convert::channel_number),
        brand: group.brand.flatten().unwrap_or_default(),
        figures: Some(figures(&group.figures)),
        change: group.change.as_ref().map(change),
    }
}

fn figures(figures: &kpi::Figures) -> pb::Figures {
    pb::Figures {
        messages: figures.messages,
        questions: figures.questions,
        complaints: figures.complaints,
        compliments: figures.compliments,
        factual_errors: figures.factual_errors,
        urgent: figures.urgent,
        needs_review: figures.needs_review,
        negative: figures.negative,
        neutral: figures.neutral,
        positive: figures.positive,
        net_sentiment: figures.net.map(|net| pb::Interval {
            value: net.value,
            low: net.low,
            high: net.high,
        }),
        answerable: figures.answerable,
        answered: figures.answered,
        response_p50_s: figures.response_p50_s,
        response_p90_s: figures.response_p90_s,
        adjusted: figures.adjusted.map(|adjusted| pb::AdjustedCounts {
            questions: adjusted.questions,
            complaints: adjusted.complaints,
            compliments: adjusted.compliments,
            factual_errors: adjusted.factual_errors,
            negative: adjusted.negative,
            positive: adjusted.positive,
        }),
    }
}

fn change(change: &kpi::Change) -> pb::Change {
    let moved = |m: &kpi::table::Moved| Some(pb::Moved { by: m.by, p_value: m.p_value });
    pb::Change {
        messages: change.messages,
        questions: moved(&change.questions),
        complaints: moved(&change.complaints),
        compliments: moved(&change.compliments),
        factual_errors: moved(&change.factual_errors),
        net_sentiment: moved(&change.net),
        answered: change.answered.as_ref().and_then(moved),
    }
}
