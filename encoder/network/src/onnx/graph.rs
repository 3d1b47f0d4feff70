//! What an ONNX file says of its inputs and outputs, with what the settings say.

use ocelli_weights::onnx::{OnnxKind, OnnxLayout, OnnxSettings};

use super::runtime::{Element, Port};

/// The input and the output that are used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Graph {
    pub(super) input: String,
    pub(super) output: String,
    pub(super) layout: OnnxLayout,
    pub(super) kind: OnnxKind,
    /// Pixels are bytes, otherwise float32.
    pub(super) is_bytes: bool,
    /// Height and width, where the network takes one size only.
    pub(super) size: Option<(i64, i64)>,
    /// The network takes one image at a time.
    pub(super) is_single: bool,
}

impl Graph {
    /// Errors say what was expected and found.
    pub(super) fn of(
        inputs: &[Port],
        outputs: &[Port],
        settings: &OnnxSettings,
    ) -> Result<Graph, String> {
        let input = chosen("input", inputs, settings.input.as_deref())?;
        let output = chosen("output", outputs, settings.output.as_deref())?;
        let is_bytes = match &input.element {
            Element::Byte => true,
            Element::Float => false,
            Element::Other(found) => {
                return Err(format!(
                    "input {}: expected bytes or float32, found {found}",
                    input.name
                ));
            }
        };
        if output.element != Element::Float {
            return Err(format!("output {}: expected float32", output.name));
        }
        let &[images, a, b, c] = input.shape.as_slice() else {
            return Err(format!("input {}: expected 4 axes, found {:?}", input.name, input.shape));
        };
        let layout = match (settings.layout, a, c) {
            (Some(layout), ..) => layout,
            (None, 3, c) if c != 3 => OnnxLayout::Nchw,
            (None, a, 3) if a != 3 => OnnxLayout::Nhwc,
            _ => {
                return Err(format!(
                    "input {}: its shape {:?} leaves its layout open: give \"onnx\": {{\"layout\": \
                     \"nchw\" or \"nhwc\"}} in the JSON file beside it",
                    input.name, input.shape
                ));
            }
        };
        let size = fixed_size(input, layout, [a, b, c])?;
        let is_single = match images {
            1 => true,
            images if images < 1 => false,
            images => {
                return Err(format!(
                    "input {}: expected one image or any number, found {images}",
                    input.name
                ));
            }
        };
        let kind = match (settings.kind, output.shape.len()) {
            (Some(kind), _) => kind,
            (None, 2) => OnnxKind::Embedding,
            (None, 4) => OnnxKind::Map,
            _ => {
                return Err(format!(
                    "output {}: its shape {:?} leaves open what it is: give \"onnx\": {{\"kind\": \
                     \"embedding\" or \"map\"}} in the JSON file beside it",
                    output.name, output.shape
                ));
            }
        };
        let (input, output) = (input.name.clone(), output.name.clone());
        Ok(Graph { input, output, layout, kind, is_bytes, size, is_single })
    }
}

/// Height and width of an input with the axes `sides` behind that of the images, if they are fixed.
fn fixed_size(
    input: &Port,
    layout: OnnxLayout,
    [a, b, c]: [i64; 3],
) -> Result<Option<(i64, i64)>, String> {
    let (height, width) = match layout {
        OnnxLayout::Nchw => (b, c),
        OnnxLayout::Nhwc => (a, b),
    };
    match (height > 0, width > 0) {
        (true, true) => Ok(Some((height, width))),
        (false, false) => Ok(None),
        _ => Err(format!(
            "input {}: expected both sides fixed or none, found {:?}",
            input.name, input.shape
        )),
    }
}

/// The port that is named, or the only one.
fn chosen<'a>(what: &str, ports: &'a [Port], name: Option<&str>) -> Result<&'a Port, String> {
    let found = || ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, ports) {
        (Some(name), _) => ports
            .iter()
            .find(|port| port.name == name)
            .ok_or_else(|| format!("expected an {what} {name:?}, found {}", found())),
        (None, [only]) => Ok(only),
        (None, _) => Err(format!(
            "expected one {what}, found {}: name one by \"onnx\": {{\"{what}\": …}} in the JSON \
             file beside it",
            found()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, element: Element, shape: &[i64]) -> Port {
        Port { name: name.to_owned(), element, shape: shape.to_vec() }
    }

    #[test]
    fn shapes_tell_what_they_can() {
        let embedding = [port("embedding", Element::Float, &[-1, 512])];
        let open = OnnxSettings::default();
        let bytes = [port("image", Element::Byte, &[-1, -1, -1, 3])];
        let graph = Graph::of(&bytes, &embedding, &open).unwrap();
        assert_eq!((graph.layout, graph.kind), (OnnxLayout::Nhwc, OnnxKind::Embedding));
        assert!(graph.is_bytes && !graph.is_single && graph.size.is_none());

        let fixed = [port("x", Element::Float, &[1, 3, 32, 48])];
        let outputs = [
            port("map", Element::Float, &[1, 8, 2, 3]),
            port("logits", Element::Float, &[1, 1000]),
        ];
        let named = OnnxSettings { output: Some("map".to_owned()), ..open.clone() };
        let graph = Graph::of(&fixed, &outputs, &named).unwrap();
        assert_eq!((graph.layout, graph.kind), (OnnxLayout::Nchw, OnnxKind::Map));
        assert_eq!((graph.size, graph.is_single), (Some((32, 48)), true));

        for (inputs, outputs, settings, expected) in [
            (&fixed[..], &outputs[..], &open, "expected one output, found map, logits"),
            (&[], &embedding, &open, "expected one input, found"),
            (&[port("x", Element::Float, &[1, -1, -1, -1])], &embedding, &open, "layout"),
            (&[port("x", Element::Float, &[1, 3, 3, 3])], &embedding, &open, "layout"),
            (&[port("x", Element::Float, &[8, 3, -1, -1])], &embedding, &open, "found 8"),
            (&[port("x", Element::Float, &[1, 3, 9, -1])], &embedding, &open, "both sides"),
            (&[port("x", Element::Float, &[3, 9])], &embedding, &open, "4 axes"),
            (
                &[port("x", Element::Other("Int64".to_owned()), &[1, 3, -1, -1])],
                &embedding,
                &open,
                "found Int64",
            ),
            (&bytes, &[port("tokens", Element::Float, &[-1, 50, 768])], &open, "kind"),
            (&bytes, &[port("e", Element::Byte, &[-1, 768])], &open, "expected float32"),
            (&bytes, &embedding, &named, "expected an output \"map\", found embedding"),
        ] {
            let error = Graph::of(inputs, outputs, settings).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
