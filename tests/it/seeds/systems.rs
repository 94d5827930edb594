//! The world's systems behind the connector traits: every law of a source and a sink is kept here, and the
//! troubles that the laws allow are made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use crossdock::connector::{
    Capabilities, Configured, Connection, Connector, Context, Onward, Probe, Sink, Source, Spec,
    StockBasis, StreamSpec,
};
use crossdock::diagnostic::Diagnostics;
use crossdock::fault::Fault;
use crossdock::record::{Lane, Stream};

use super::items::ItemSink;
use super::prices::PriceSink;
use super::sinks::{OrderSink, ParcelSink, StockSink};
use super::sources::{Kind, Reader};
use super::wire::Link;
use super::world::{ACME, ERP, MARKET, SYSTEMS};

/// One kind of system: `sim_north` and so on.
#[derive(Debug)]
pub struct Scripted {
    system: usize,
    spec: Spec,
}

impl Scripted {
    pub fn all() -> Vec<Self> {
        let made = (0..SYSTEMS.len()).map(|system| Self {
            system,
            spec: spec(system),
        });
        made.collect()
    }
}

fn reads(onward: Onward, settle_lag: u64, poll: u64) -> StreamSpec {
    StreamSpec {
        read: true,
        onward,
        settle_lag: Duration::from_secs(settle_lag),
        poll: Duration::from_secs(poll),
        ..StreamSpec::default()
    }
}

fn writes(max_batch: usize) -> StreamSpec {
    StreamSpec {
        write: true,
        max_batch,
        ..StreamSpec::default()
    }
}

fn spec(system: usize) -> Spec {
    let by_moment = Onward::Moment {
        overlap: Duration::from_secs(5),
    };
    let whole = reads(Onward::Whole, 0, 20);
    let streams = match system {
        ERP => BTreeMap::from([
            (Stream::Orders, writes(1)),
            (Stream::Stock, whole),
            (Stream::Shipments, reads(by_moment, 4, 18)),
            (Stream::Prices, reads(by_moment, 4, 17)),
            (Stream::Items, reads(by_moment, 4, 16)),
        ]),
        ACME => BTreeMap::from([(Stream::Stock, whole)]),
        shop => {
            let onward = if shop == 1 { Onward::Number } else { by_moment };
            BTreeMap::from([
                (Stream::Orders, reads(onward, 4, 15)),
                (Stream::Stock, writes(3)),
                (Stream::Shipments, writes(1)),
                (Stream::Prices, writes(2)),
                (Stream::Items, writes(1)),
            ])
        }
    };
    let stock_basis = match system {
        0 => StockBasis::AllocatedApart,
        1 | MARKET => StockBasis::Free,
        _ => StockBasis::OnHand,
    };
    Spec {
        name: format!("sim_{}", SYSTEMS[system]),
        streams,
        capabilities: Capabilities {
            stock_basis,
            ..Capabilities::default()
        },
        ..Spec::default()
    }
}

impl Connector for Scripted {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn configure(&self, _: &toml::Table) -> Result<Box<dyn Configured>, Diagnostics> {
        Ok(Box::new(Ready(self.system)))
    }
}

#[derive(Debug)]
struct Ready(usize);

impl Configured for Ready {
    fn open(&self, context: Context) -> Result<Connection, Fault> {
        let link = Link::new(self.0, &context);
        let mut connection = Connection::default();
        let reads = |kind| -> Arc<dyn Source> { Arc::new(Reader::new(link.clone(), kind)) };
        let (sources, sinks) = (&mut connection.sources, &mut connection.sinks);
        match self.0 {
            ERP => {
                sources.insert(Stream::Stock, reads(Kind::Stock));
                sources.insert(Stream::Shipments, reads(Kind::Parcels));
                sources.insert(Stream::Prices, reads(Kind::Prices));
                sources.insert(Stream::Items, reads(Kind::Items));
                let orders: Arc<dyn Sink> = Arc::new(OrderSink(link.clone()));
                sinks.insert(Stream::Orders, orders);
            }
            ACME => {
                sources.insert(Stream::Stock, reads(Kind::Stock));
            }
            _ => {
                sources.insert(Stream::Orders, reads(Kind::Orders));
                let stock: Arc<dyn Sink> = Arc::new(StockSink(link.clone()));
                let parcels: Arc<dyn Sink> = Arc::new(ParcelSink(link.clone()));
                sinks.insert(Stream::Stock, stock);
                sinks.insert(Stream::Shipments, parcels);
                let prices: Arc<dyn Sink> = Arc::new(PriceSink(link.clone()));
                sinks.insert(Stream::Prices, prices);
                let items: Arc<dyn Sink> = Arc::new(ItemSink(link.clone()));
                sinks.insert(Stream::Items, items);
            }
        }
        connection.probe = Some(Arc::new(Knock(link)));
        Ok(connection)
    }
}

#[derive(Debug)]
struct Knock(Link);

#[async_trait]
impl Probe for Knock {
    async fn probe(&self) -> Result<String, Fault> {
        self.0.call(Lane::default(), |_| "a guest".to_owned()).await
    }
}
